//! The tree of a trace: each command under the event, or else the command, that it names as its cause.
//!
//! Causes are what senders say, so anything may be named: nothing, what is not in the trace, what came later, a command's own
//! event. A cause that is not there makes a root; of a circle the earliest command is a root; and a chain that is deeper than
//! [`DEPTH_MAX`] goes on as a root of its own. Every command of the trace has one place, and nothing here calls itself.

use super::TraceCommand;
use crate::domain::TenantId;
use crate::domain::envelope::SYSTEM_SOURCE;
use hashbrown::HashMap;
use std::collections::VecDeque;
use uuid::Uuid;

/// Most commands that stand below one another. Reactions end before; what is deeper was chained by its senders, and would
/// be nested deeper than JSON is read (128 levels, of which a command under an event takes four).
pub const DEPTH_MAX: usize = 24;

/// Commands and how they follow from one another.
#[derive(Clone, Debug)]
pub struct Trace {
    /// In the order of their times.
    pub commands: Vec<TraceCommand>,
    /// Places of the commands that follow from none of the others, in the same order.
    pub roots: Vec<usize>,
    /// Whether there are more than are shown.
    pub is_truncated: bool,
}

/// Where a command stands: under another, or under one of its events.
#[derive(Clone, Copy)]
struct Under {
    command: usize,
    event: Option<usize>,
}

impl Trace {
    pub(super) fn of(mut commands: Vec<TraceCommand>, is_truncated: bool) -> Self {
        commands.sort_unstable_by_key(TraceCommand::traced);
        let mut parents = Causes::of(&commands).parents(&commands);
        cut_circles(&mut parents);
        cut_depth(&mut parents);
        let mut roots = Vec::new();
        for (place, parent) in parents.into_iter().enumerate() {
            match parent {
                None => roots.push(place),
                Some(Under { command, event: Some(event) }) => commands[command].events[event].commands.push(place),
                Some(Under { command, event: None }) => commands[command].commands.push(place),
            }
        }
        Self { commands, roots, is_truncated }
    }
}

/// What commands may name as their cause.
struct Causes {
    by_id: HashMap<Uuid, Under>,
    /// The first events of streams whose id is the correlation of what carries them out.
    begun: HashMap<(TenantId, Uuid), Under>,
}

impl Causes {
    fn of(commands: &[TraceCommand]) -> Self {
        let (mut by_id, mut begun) = (HashMap::new(), HashMap::new());
        for (command, it) in commands.iter().enumerate() {
            by_id.insert(it.envelope.command_id, Under { command, event: None });
            by_id.extend(
                it.events.iter().enumerate().map(|(event, at)| (at.event_id, Under { command, event: Some(event) })),
            );
            if let Some(event) = it.beginning() {
                let stream = it.envelope.stream;
                begun.insert((stream.tenant, stream.id), Under { command, event: Some(event) });
            }
        }
        Self { by_id, begun }
    }

    fn parents(&self, commands: &[TraceCommand]) -> Vec<Option<Under>> {
        let parent =
            |(place, command): (usize, &TraceCommand)| self.parent(command).filter(|parent| parent.command != place);
        commands.iter().enumerate().map(parent).collect()
    }

    fn parent(&self, command: &TraceCommand) -> Option<Under> {
        let envelope = &*command.envelope;
        if let Some(causation) = &envelope.causation {
            return self.by_id.get(&Uuid::parse_str(causation).ok()?).copied();
        }
        let correlation = envelope.correlation.as_deref().filter(|_| envelope.source == SYSTEM_SOURCE)?;
        self.begun.get(&(envelope.tenant(), Uuid::parse_str(correlation).ok()?)).copied()
    }
}

/// Makes a root of the earliest command of each circle.
fn cut_circles(parents: &mut [Option<Under>]) {
    // The walk in which a command was met, from 1.
    let mut met = vec![0; parents.len()];
    for walk in 1..=parents.len() {
        let mut at = walk - 1;
        while met[at] == 0 {
            met[at] = walk;
            match parents[at] {
                Some(parent) => at = parent.command,
                None => break,
            }
        }
        if met[at] != walk || parents[at].is_none() {
            continue;
        }
        let (mut earliest, mut next) = (at, at);
        while let Some(parent) = parents[next].filter(|parent| parent.command != at) {
            next = parent.command;
            earliest = earliest.min(next);
        }
        parents[earliest] = None;
    }
}

/// Makes a root of each command that would stand too deep.
fn cut_depth(parents: &mut [Option<Under>]) {
    let mut children = vec![Vec::new(); parents.len()];
    let mut waiting = VecDeque::new();
    for (place, parent) in parents.iter().enumerate() {
        match parent {
            Some(parent) => children[parent.command].push(place),
            None => waiting.push_back((place, 1)),
        }
    }
    while let Some((place, depth)) = waiting.pop_front() {
        for child in std::mem::take(&mut children[place]) {
            if depth < DEPTH_MAX {
                waiting.push_back((child, depth + 1));
            } else {
                parents[child] = None;
                waiting.push_back((child, 1));
            }
        }
    }
}
