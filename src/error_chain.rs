//! An error and its causes, in one line for whoever has to act on it.

use std::error::Error;
use std::iter;

/// Each is said once: many errors already quote their cause.
pub fn one_line(error: &dyn Error) -> String {
    let mut said = error.to_string();
    for cause in iter::successors(error.source(), |&cause| cause.source()) {
        let cause = cause.to_string();
        if !said.contains(&cause) {
            said.push_str(": ");
            said.push_str(&cause);
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Broken {
        #[error("top.jpg: {source}; free some space")]
        Quoting { source: io::Error },
        #[error("the disk is broken")]
        Apart(#[source] Box<Broken>),
    }

    #[test]
    fn a_cause_is_said_once() {
        let quoting = Broken::Quoting { source: io::Error::other("it burns") };
        assert_eq!(one_line(&quoting), "top.jpg: it burns; free some space");
        let apart = Broken::Apart(Box::new(quoting));
        assert_eq!(one_line(&apart), "the disk is broken: top.jpg: it burns; free some space");
    }
}
