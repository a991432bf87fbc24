//! The stand-in provider through the real binary: exact limits, the wires' events, trouble on purpose, and its control.

mod control;
mod faults;
mod limits;
pub(crate) mod server;
mod wires;
