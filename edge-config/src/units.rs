//! u
#[derive(Debug)]
/// x
pub struct ByteSize;
#[derive(Debug)]
/// x
pub struct Duration;
#[derive(Debug)]
/// x
pub struct ParseUnitError;
