//! Where ports meet the world: consensus and routing over the mesh, the origin over HTTP, faults on
//! links.

pub mod compress;
pub mod faults;
pub mod local;
pub mod origin;
pub mod peer;
pub mod transport;
