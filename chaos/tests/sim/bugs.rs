//! Bugs planted on purpose: one recorded seed each, and the invariant that finds it.

use hexpop_chaos::sim::{Bug, Settings, run};
