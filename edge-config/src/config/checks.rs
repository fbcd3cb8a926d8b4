//! Checks of values that were read well.

use super::{ProblemKind, tree::shorten};
use crate::Region;

/// What is wrong with a value that was read, or with one element of it.
pub(super) struct Fault {
    /// The element, if the value is a list of texts and one of them is wrong.
    pub(super) element: Option<String>,
    /// What kind of problem it is.
    pub(super) kind: ProblemKind,
    /// What is wrong.
    pub(super) message: String,
}

impl Fault {
    /// The value as a whole is wrong.
    pub(super) fn whole(kind: ProblemKind, message: impl Into<String>) -> Self {
        Self { element: None, kind, message: message.into() }
    }
}

/// The faults of a list of texts that holds at most `most`; `check` says what is wrong with one.
pub(super) fn check_each<'v>(
    values: impl IntoIterator<Item = &'v String>,
    most: usize,
    check: impl Fn(&str) -> Result<(), String>,
) -> Vec<Fault> {
    let mut count = 0;
    let mut faults = Vec::new();
    for value in values {
        count += 1;
        if let Err(message) = check(value) {
            let element = Some(value.clone());
            faults.push(Fault { element, kind: ProblemKind::Wrong, message });
        }
    }
    faults.extend(at_most(count, most));
    faults
}

/// The fault of a list with too many elements.
pub(super) fn at_most(found: usize, most: usize) -> Option<Fault> {
    let message = || format!("{found} elements are too many: at most {most}");
    (found > most).then(|| Fault::whole(ProblemKind::Range, message()))
}

/// Residency labels: few, and each of the shape of a name.
pub(super) fn check_labels<'v>(labels: impl IntoIterator<Item = &'v String>) -> Vec<Fault> {
    const SHAPE: &str = "lower-case letters, digits and single dashes, at most 48";
    check_each(labels, 16, |label| match label.parse::<Region>() {
        Ok(_of_that_shape) => Ok(()),
        Err(_other) => Err(format!("\"{}\" is not a label ({SHAPE})", shorten(label))),
    })
}
