//! c
#[derive(Debug)]
/// c
pub struct Config;
