//! What the values of an enum are called outside: said once, so that a list of all of them cannot lack one.

/// Gives an enum `name()`, as in JSON and filters, and `NAMES`, all of them. The match has every value, or it does not
/// compile.
macro_rules! names {
    ($kind:ident: $($value:ident $name:literal),+ $(,)?) => {
        impl $kind {
            /// The names of all values.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            pub fn name(self) -> &'static str {
                match self { $(Self::$value => $name),+ }
            }
        }
    };
}
