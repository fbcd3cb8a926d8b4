//! Refusing early and cheaply what could not be finished: each class of requests may use only a part
//! of the node's room, sessions all of it, so that they are the last to be refused.

use std::sync::atomic::{AtomicUsize, Ordering};

use hexpop_router::Problem as ProblemType;

use crate::http::problem::Problem;

/// Classes of requests, the most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Sessions and users.
    Session,
    /// Listings by id.
    Listing,
    /// Searches.
    Search,
    /// What goes to the origin.
    Proxy,
}

impl Class {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Listing => "listing",
            Self::Search => "search",
            Self::Proxy => "proxy",
        }
    }

    /// The part of the room that may be full before this class is refused, in percent.
    const fn share(self) -> usize {
        match self {
            Self::Session => 100,
            Self::Listing => 90,
            Self::Search => 75,
            Self::Proxy => 60,
        }
    }
}

/// The room of one port.
#[derive(Debug)]
pub(super) struct Admission {
    under_way: AtomicUsize,
}

/// A place taken; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    under_way: &'a AtomicUsize,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    pub(super) const fn new() -> Self {
        Self { under_way: AtomicUsize::new(0) }
    }

    /// Takes a place of `requests_max`.
    ///
    /// # Errors
    /// 503 when the room of this class is full.
    pub(super) fn admit(&self, class: Class, requests_max: usize) -> Result<Slot<'_>, Problem> {
        let room = requests_max.saturating_mul(class.share()) / 100;
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        let slot = Slot { under_way: &self.under_way };
        if before < room.max(1) {
            return Ok(slot);
        }
        drop(slot);
        let class = class.as_str();
        Err(Problem::new(
            ProblemType::Overloaded,
            format!("the node has no room for more {class} requests right now"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_the_last_to_be_refused() {
        let admission = Admission::new();
        let admit = |class| admission.admit(class, 10);
        let held: Vec<_> = (0..6).map(|_| admit(Class::Proxy).unwrap()).collect();
        assert!(admit(Class::Proxy).is_err());
        let search = admit(Class::Search).unwrap();
        assert!(admit(Class::Search).is_err());
        let more: Vec<_> = (0..3).map(|_| admit(Class::Session).unwrap()).collect();
        assert!(admit(Class::Session).is_err());
        drop((held, search, more));
        assert!(admit(Class::Proxy).is_ok());
    }
}
