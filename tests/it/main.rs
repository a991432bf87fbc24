//! Tests of the whole: one binary, one file per concern.

#[cfg(test)]
mod flow;
#[cfg(test)]
mod tidy;
