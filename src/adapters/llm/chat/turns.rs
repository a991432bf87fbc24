//! The messages as the other wires want them: the system's apart, the others in turns that alternate.

use super::{Chat, Image, Message, Part, ToolCall};
use crate::adapters::llm::fault::Fault;
use std::borrow::Cow;
use std::collections::HashMap;

/// What one side said without the other's in between. Results of tools are the user's.
#[derive(Debug)]
pub struct Turn<'a> {
    pub from_model: bool,
    pub items: Vec<Item<'a>>,
}

#[derive(Debug)]
pub enum Item<'a> {
    /// Not empty.
    Text(Cow<'a, str>),
    Image(Image<'a>, String),
    Call(ToolCall<'a>),
    Result {
        call_id: Cow<'a, str>,
        /// Of the function that was called.
        name: String,
        parts: Vec<Part<'a>>,
    },
}

impl<'a> Chat<'a> {
    /// Takes the messages: the texts of the system, and the turns. Empty texts say nothing and some providers refuse
    /// them: they are left out.
    ///
    /// # Errors
    /// When a result belongs to no call, when nothing is said, when the system shows an image.
    pub fn take_turns(&mut self) -> Result<(Vec<Cow<'a, str>>, Vec<Turn<'a>>), Fault> {
        let mut system = Vec::new();
        let mut turns: Vec<Turn<'a>> = Vec::new();
        let mut names = HashMap::new();
        for (at, message) in std::mem::take(&mut self.messages).into_iter().enumerate() {
            let (from_model, items) = match message {
                Message::System(parts) => {
                    for part in parts {
                        match part {
                            Part::Text(text) if text.is_empty() => {}
                            Part::Text(text) => system.push(text),
                            Part::Image(_, name) => return Err(self.unsupported(&name)),
                        }
                    }
                    continue;
                }
                Message::User(parts) => (false, said(parts)),
                Message::Assistant { parts, calls } => {
                    names.extend(calls.iter().map(|call| (call.id.to_string(), call.name.to_string())));
                    let mut items = said(parts);
                    items.extend(calls.into_iter().map(Item::Call));
                    (true, items)
                }
                Message::Tool { call_id, parts } => {
                    let param = format!("messages[{at}].tool_call_id");
                    let name = names.get(&*call_id).cloned();
                    let name = name.ok_or_else(|| {
                        Fault::bad_request(Some(&param), format!("{param} names no call of an earlier message"))
                    })?;
                    (false, vec![Item::Result { call_id, name, parts }])
                }
            };
            match turns.last_mut() {
                Some(turn) if turn.from_model == from_model => turn.items.extend(items),
                _ if items.is_empty() => {}
                _ => turns.push(Turn { from_model, items }),
            }
        }
        if turns.is_empty() {
            return Err(Fault::bad_request(Some("messages"), "messages hold nothing that a user or the model said"));
        }
        Ok((system, turns))
    }
}

fn said(parts: Vec<Part<'_>>) -> Vec<Item<'_>> {
    let items = parts.into_iter().filter_map(|part| match part {
        Part::Text(text) if text.is_empty() => None,
        Part::Text(text) => Some(Item::Text(text)),
        Part::Image(image, name) => Some(Item::Image(image, name)),
    });
    items.collect()
}
