//! A broker inside the program, for `demo` and for tests that need no real one.
