//! The application on shards without a kernel.

mod content;
mod crowd;
mod handlers;
mod hostile;
mod limits;
mod messages;
mod presence;
mod relay;
mod upgrade;
mod world;

use super::RealtimeOptions;
use world::World;

fn trusting() -> RealtimeOptions {
    RealtimeOptions {
        trust_user_ids: true,
        ..RealtimeOptions::default()
    }
}

fn world(shards: u16) -> World {
    World::new(shards, trusting(), |app| app)
}
