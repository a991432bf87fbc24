//! What has become of a batch's requests so far. Pure.
//!
//! Progress is a prefix of the file: all requests up to a line have ended. What ended beyond it waits here for the ones
//! before it, and is looked at again by a successor.

use crate::domain::llm_batch::{ERRORS_MAX, Progress, RequestError, Run};
use std::collections::{BTreeSet, VecDeque};

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Completed,
    /// With what is to be recorded of it where its own stream does not say.
    Failed(Option<RequestError>),
    /// The window's end took it.
    Expired,
}

/// See the module.
#[derive(Debug)]
pub struct Tally {
    progress: Progress,
    /// The line of the progress that was recorded last.
    told: i64,
    /// Of the requests right after the progress; `None` while one is under way.
    beyond: VecDeque<Option<End>>,
    open: BTreeSet<i64>,
    /// Of the errors of the progress, and the most of one record.
    error_bytes: usize,
    error_bytes_max: usize,
}

impl Tally {
    /// Goes on from what was recorded of a batch. One record takes so many bytes of errors, and one error more.
    pub fn of(run: &Run, error_bytes_max: usize) -> Self {
        let Run { line, completed, failed, expired, .. } = *run;
        let progress = Progress { line, completed, failed, expired, errors: Vec::new() };
        let (beyond, open) = (VecDeque::new(), BTreeSet::new());
        Self { told: line, progress, beyond, open, error_bytes: 0, error_bytes_max }
    }

    /// The number of the first request that nothing was said of.
    pub fn next(&self) -> i64 {
        self.progress.line + self.beyond.len() as i64 + 1
    }

    /// The next request is under way.
    pub fn begin(&mut self) {
        self.open.insert(self.next());
        self.beyond.push_back(None);
    }

    /// The next request has ended already.
    pub fn skip(&mut self, end: End) {
        self.beyond.push_back(Some(end));
    }

    /// A request that was under way has ended.
    pub fn settle(&mut self, number: i64, end: End) {
        let place = usize::try_from(number - self.progress.line - 1).ok();
        if self.open.remove(&number)
            && let Some(slot) = place.and_then(|place| self.beyond.get_mut(place))
        {
            *slot = Some(end);
        }
    }

    /// The requests under way.
    pub fn open(&self) -> &BTreeSet<i64> {
        &self.open
    }

    /// Moves the progress on as far as one record of it may go.
    pub fn advance(&mut self) {
        while !self.is_full()
            && let Some(end) = self.beyond.pop_front_if(|end| end.is_some()).flatten()
        {
            let progress = &mut self.progress;
            progress.line += 1;
            match end {
                End::Completed => progress.completed += 1,
                End::Failed(error) => {
                    progress.failed += 1;
                    self.error_bytes += error.as_ref().map_or(0, bytes_of);
                    progress.errors.extend(error);
                }
                End::Expired => {
                    progress.failed += 1;
                    progress.expired += 1;
                }
            }
        }
    }

    /// Whether the progress holds as many errors as one record takes.
    pub fn is_full(&self) -> bool {
        self.progress.errors.len() >= ERRORS_MAX || self.error_bytes >= self.error_bytes_max
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// How many requests the progress is further than its last record.
    pub fn untold(&self) -> i64 {
        self.progress.line - self.told
    }

    /// The progress is on record.
    pub fn tell(&mut self) {
        self.told = self.progress.line;
        self.progress.errors.clear();
        self.error_bytes = 0;
    }
}

/// What an error takes in a record, at most.
fn bytes_of(error: &RequestError) -> usize {
    let RequestError { code, message, .. } = error;
    code.len() + message.len() + 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(number: i64) -> End {
        End::Failed(Some(RequestError { request: number, ..RequestError::default() }))
    }

    #[test]
    fn progress_waits_for_the_first_that_has_not_ended() {
        let mut tally = Tally::of(&Run { line: 10, completed: 9, failed: 1, ..Run::default() }, usize::MAX);
        assert_eq!(tally.next(), 11);
        tally.begin();
        tally.skip(failed(12));
        tally.begin();
        tally.skip(End::Expired);
        tally.settle(13, End::Completed);
        tally.settle(13, End::Expired);
        tally.advance();
        assert_eq!((tally.progress().line, tally.untold(), tally.open().len()), (10, 0, 1));
        tally.settle(11, End::Completed);
        tally.advance();
        let progress = tally.progress();
        assert_eq!((progress.line, progress.completed, progress.failed, progress.expired), (14, 11, 3, 1));
        assert_eq!((progress.errors.len(), tally.untold(), tally.next()), (1, 4, 15));
        tally.tell();
        assert_eq!((tally.progress().errors.len(), tally.untold()), (0, 0));
    }

    #[test]
    fn one_record_takes_so_many_errors_and_no_more() {
        let mut tally = Tally::of(&Run::default(), usize::MAX);
        (0..ERRORS_MAX as i64 + 3).for_each(|number| tally.skip(failed(number + 1)));
        tally.advance();
        assert!(tally.is_full() && tally.progress().line == ERRORS_MAX as i64);
        tally.tell();
        tally.advance();
        assert_eq!((tally.progress().line, tally.progress().errors.len()), (ERRORS_MAX as i64 + 3, 3));
    }

    #[test]
    fn one_record_takes_so_many_bytes_of_errors() {
        let mut tally = Tally::of(&Run::default(), 2_000);
        let error = |request| RequestError { request, message: "x".repeat(968), ..RequestError::default() };
        (1..=5).for_each(|number| tally.skip(End::Failed(Some(error(number)))));
        let lines = [2, 4, 5].map(|line| {
            tally.advance();
            assert_eq!((tally.progress().line, tally.is_full()), (line, line < 5));
            tally.tell();
        });
        assert_eq!(lines.len(), 3);
    }
}
