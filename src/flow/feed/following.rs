//! The feed's own followers, where nobody tells it what is published: one task for a log that has readers.

use super::{LINGER, Open, Shared};
use crate::domain::LogId;
use crate::flow::said::Said;
use crate::ports::topic::{Error, Topics};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Records that a follower takes at once.
const RECORDS_MAX: usize = 1000;
/// Between a failure and the next try: the first time, and at most, when nothing comes of it again and again.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

static SAID: Mutex<Said> = Mutex::new(Said::nothing());

/// The feed's own followers.
pub(super) struct Following {
    open: Open,
    /// Theirs, as long as there is any.
    topics: Mutex<Option<Weak<dyn Topics>>>,
    /// By the place of the log.
    pub tasks: Mutex<HashMap<usize, AbortOnDropHandle<()>>>,
}

impl Following {
    pub fn new(open: Open) -> Self {
        Self { open, topics: Mutex::default(), tasks: Mutex::default() }
    }
}

impl Shared {
    /// Notes what was published of a log as far as its journal tells.
    pub(super) async fn learn(&self, log: LogId, place: usize) -> Result<(), Error> {
        let state = self.journal.state(log).await.map_err(|error| Error::Unavailable(error.to_string()))?;
        self.reach(place, state.derived_to.min(state.head));
        Ok(())
    }

    /// Follows a log for as long as nothing fails.
    async fn draw(&self, log: LogId, place: usize, topics: &dyn Topics) -> Error {
        if let Err(error) = self.learn(log, place).await {
            return error;
        }
        let mut at = self.published(place);
        loop {
            match topics.follow(log, at, RECORDS_MAX).await {
                Ok(records) => {
                    let through = records.last().map_or(at, |last| last.record.position);
                    self.take(place, at, records.into());
                    at = through;
                }
                Err(error) => return error,
            }
        }
    }

    /// The topics that the followers share, as long as there is any.
    fn topics(&self) -> Result<Arc<dyn Topics>, Error> {
        let Some(following) = &self.following else { return Err(Error::Unavailable("nothing is followed".into())) };
        let mut open = following.topics.lock();
        if let Some(topics) = open.as_ref().and_then(Weak::upgrade) {
            return Ok(topics);
        }
        let topics = (following.open)()?;
        *open = Some(Arc::downgrade(&topics));
        Ok(topics)
    }

    async fn unwanted(&self, place: usize) {
        while self.is_wanted(place) {
            tokio::time::sleep(LINGER / 4).await;
        }
    }

    /// Ends the following of a log, unless somebody came to read it.
    fn retire(&self, place: usize) -> bool {
        let Some(following) = &self.following else { return true };
        let mut tasks = following.tasks.lock();
        if self.is_wanted(place) {
            return false;
        }
        self.ring.lock().forget(place);
        tasks.remove(&place);
        true
    }
}

/// Follows a log while it has readers.
pub(super) async fn run(shared: Arc<Shared>, log: LogId, place: usize) {
    let mut pause = PAUSE;
    loop {
        let before = shared.published(place);
        let failed = match shared.topics() {
            Err(error) => Some(error),
            Ok(topics) => tokio::select! {
                () = shared.unwanted(place) => {
                    // Closing the last one's connections takes a moment.
                    tokio::task::spawn_blocking(move || drop(topics));
                    None
                }
                error = shared.draw(log, place, &*topics) => Some(error),
            },
        };
        if shared.retire(place) {
            return;
        }
        let Some(error) = failed else { continue };
        if let Some(failures) = SAID.lock().count(Instant::now()) {
            tracing::warn!(%log, %error, failures, "following a log for its readers failed; it is tried again");
        }
        if shared.published(place) != before {
            pause = PAUSE;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
