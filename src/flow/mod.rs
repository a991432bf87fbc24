//! The journey of a command, one verb per file, in the order in which it happens.

pub mod append;
pub mod batch;
pub mod decide;
pub mod derive;
pub mod feed;
pub mod fold;
pub mod gateway;
pub mod heartbeat;
pub mod import;
pub mod keeper;
pub mod lease;
pub mod outcome;
pub mod process;
pub mod project;
pub mod projected;
pub mod query;
pub mod react;
pub mod relay;
pub mod replica;
pub mod request;
pub mod said;
pub mod trace;
pub mod world;

pub use crate::ports::receive;
