//! The engine on a log that decides as the real one does, against a provider that does as it is told, on a clock that the
//! tests move.

mod callers;
mod drain;
mod fakes;
mod life;
mod reports;
mod trouble;
mod world;
