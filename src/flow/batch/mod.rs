//! Batches of requests to LLMs: uploaded, carried out request by request, read again.
//!
//! Whoever owns a batch's log runs it ([`runner`]): it submits the lines of the file as requests of their own, so many at a
//! time, looks at what becomes of them, and records how far the batch is. It keeps nothing: where it dies, whoever claims
//! the log finds the batch among the open ones of the log, and goes on from the last record of its progress. Ids of
//! requests and commands follow from the batch and the line, so that what was submitted before is not submitted again.
//!
//! [`split`] takes an upload apart, [`output`] makes the files of answers and errors when they are read.

pub mod join;
mod lines;
mod make;
pub mod output;
pub mod runner;
mod say;
pub mod split;
mod stand;
mod survey;
mod tally;
mod task;
#[cfg(test)]
mod tests;
