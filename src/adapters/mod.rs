//! One folder per outside thing; a file is named after the port that it implements.

#[cfg(test)]
mod cluster_tests;
pub mod embedded;
mod http;
pub mod kafka;
pub mod llm;
pub mod registry;
pub mod scylla;
pub mod tantivy;
mod thread;
mod words;
