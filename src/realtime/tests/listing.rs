//! Lists of rooms, of their messages and of their members, page by page.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::call;
use super::persistence::{Lives, kept, publish, subscribe, v1};
use crate::testing::Client;

/// Reads a list to its end: the pages.
fn pages(client: &Client, prefix: &str, limit: usize) -> Vec<Vec<String>> {
    let (mut pages, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let mut params = json!({"prefix": prefix, "limit": limit});
        if !cursor.is_null() {
            params["cursor"] = cursor;
        }
        let page = call(client, "room.list", params).unwrap();
        let rooms = page["rooms"].as_array().unwrap().iter();
        let names = rooms.map(|room| room["id"].as_str().unwrap().to_owned());
        pages.push(names.collect());
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            return pages;
        }
    }
}

fn create(client: &Client, room: &str, is_private: bool) {
    let params = json!({"room_id": room, "is_private": is_private});
    call(client, "room.create", params).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Rooms in the store and in memory, some loaded and some not, most of them perhaps not for the asker.
    #[test]
    fn pages_of_rooms_are_full_but_the_last_and_hold_each_visible_room_once(
        rooms in prop::collection::btree_map("[ab]{1,3}", (any::<bool>(), 0u8..8, any::<bool>()), 0..14),
        limit in 1usize..5, shards in 1u16..4, prefix in prop_oneof![Just(""), Just("kept-a")],
    ) {
        let mut lives = Lives::new(kept());
        let server = lives.start(shards);
        let eve = v1(&server, "eve");
        let name = |room: &str, is_kept: bool| if is_kept { format!("kept-{room}") } else { room.into() };
        let kept_rooms = || rooms.iter().filter(|(_, (is_kept, ..))| *is_kept);
        for (room, (_, public, _)) in kept_rooms() {
            create(&eve, &name(room, true), *public > 1);
        }
        lives.stop(server);
        let server = lives.start(shards);
        let (ann, eve) = (v1(&server, "ann"), v1(&server, "eve"));
        for (room, (is_kept, public, is_loaded)) in &rooms {
            if !is_kept {
                create(&eve, &name(room, false), *public > 1);
            } else if *is_loaded {
                call(&eve, "room.get", json!({"room_id": name(room, true)})).unwrap();
            }
        }
        let mut visible: Vec<String> = rooms
            .iter()
            .filter(|(_, (_, public, _))| *public <= 1)
            .map(|(room, (is_kept, ..))| name(room, *is_kept))
            .filter(|name| name.starts_with(prefix))
            .collect();
        visible.sort_unstable();
        let pages = pages(&ann, prefix, limit);
        let (last, full) = pages.split_last().unwrap();
        prop_assert!(full.iter().all(|page| page.len() == limit), "{:?}", pages);
        prop_assert!(!last.is_empty() || full.is_empty(), "{:?}", pages);
        prop_assert_eq!(pages.concat(), visible);
        server.end();
    }
}

#[test]
fn one_page_looks_through_many_rooms_that_are_not_for_the_asker() {
    let mut lives = Lives::new(kept());
    let server = lives.start(2);
    let eve = v1(&server, "eve");
    for n in 0..60 {
        create(&eve, &format!("kept-{n:02}"), n % 30 != 29);
    }
    lives.stop(server);
    let server = lives.start(2);
    let found = pages(&v1(&server, "ann"), "", 2);
    assert_eq!(found, [["kept-29", "kept-59"]]);
    server.end();
}

/// What a list gives page by page, until one says that it is the last.
fn walk(mut page: impl FnMut(Value) -> Value, member: &str) -> Vec<Vec<Value>> {
    let (mut pages, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let mut told = page(cursor);
        cursor = told["next_cursor"].take();
        pages.push(told[member].as_array().unwrap().clone());
        if cursor.is_null() {
            return pages;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Of the messages memory keeps the newest eight, and the store all.
    #[test]
    fn pages_of_history_and_members_are_full_but_the_last_and_hold_each_once(
        is_kept in any::<bool>(), messages in 1u64..24, members in 1usize..12, away in 0usize..4,
        limit in 1usize..7, is_forth in any::<bool>(), shards in 1u16..4,
    ) {
        let mut namespace = kept();
        namespace.history.size = 8;
        let mut lives = Lives::new(namespace);
        let server = lives.start(shards);
        let room = if is_kept { "kept" } else { "passing" };
        let clients: Vec<Client> = (0..members + away).map(|n| v1(&server, &format!("user-{n:02}"))).collect();
        for client in &clients {
            subscribe(client, room);
        }
        for n in 1..=messages {
            publish(&clients[0], room, n);
        }
        for client in &clients[members..] {
            client.close(1000, "");
        }
        server.run();
        clients[0].forget();
        let params = |mark: &str, cursor: Value| match cursor.is_null() {
            true => json!({"room_id": room, "limit": limit}),
            false => json!({"room_id": room, "limit": limit, mark: cursor}),
        };
        let start = if is_forth { ("after", json!("0")) } else { ("before", Value::Null) };
        let page = |cursor: Value| {
            let cursor = if cursor.is_null() { start.1.clone() } else { cursor };
            call(&clients[0], "room.history", params(start.0, cursor)).unwrap()
        };
        let mut pages = walk(page, "messages");
        let last = pages.len() - 1;
        prop_assert!(pages[..last].iter().all(|page| page.len() == limit), "{:?}", pages);
        prop_assert!(!pages[last].is_empty(), "{:?}", pages);
        if !is_forth {
            pages.reverse();
        }
        let offsets: Vec<u64> = pages.concat().iter().map(|m| m["offset"].as_u64().unwrap()).collect();
        prop_assert_eq!(offsets, (1..=messages).collect::<Vec<_>>());

        let page = |cursor: Value| call(&clients[0], "room.members", params("cursor", cursor)).unwrap();
        let pages = walk(page, "members");
        let last = pages.len() - 1;
        prop_assert!(pages[..last].iter().all(|page| page.len() == limit), "{:?}", pages);
        prop_assert!(!pages[last].is_empty(), "{:?}", pages);
        let names: Vec<String> = pages.concat().iter().map(|m| m["user_id"].as_str().unwrap().into()).collect();
        let present: Vec<String> = (0..members).map(|n| format!("user-{n:02}")).collect();
        prop_assert_eq!(names, present);
        server.end();
    }
}
