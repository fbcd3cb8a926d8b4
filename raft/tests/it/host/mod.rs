//! Several hosts in one process, over a transport in memory and real files.

mod cluster;
mod documents;
mod failures;
mod founding;
mod leading;
mod leaving;
mod merging;
mod parking;
mod purges;
mod replacement;
mod snapshots;
mod splitting;
mod system_groups;
