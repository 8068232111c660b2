//! Sections that may stand several times: routes and namespaces.

use super::{file, problems};
use crate::config::{Create, load};
use crate::who::Who;

#[test]
fn routes_of_a_file_replace_the_default_and_are_checked() {
    let text = "[[route]]\npath = \"/chat\"\nroom = \"hall\"\nmax_message_size = \"1KiB\"\n\
                [[route]]\npath = \"/v2/chat\"";
    let config = load(&file(text)).unwrap();
    let [chat, second] = config.route.as_slice() else {
        panic!("two routes")
    };
    assert_eq!((chat.path.as_str(), chat.room.as_str()), ("/chat", "hall"));
    assert_eq!(config.max_message_size(chat), 1024);
    assert_eq!(config.max_message_size(second), 32_768);
    assert_eq!(config.largest_message_size(), 32_768);

    let text = "[[route]]\npath = \"ws\"\n[[route]]\nprofile = \"v2\"\nroom = \"a\\nb\"\npaths = 1\n\
                [[route]]\n[[route]]\npath = \"/ws\"\n";
    let found = problems(&file(text));
    assert_eq!(found.len(), 6, "{found:?}");
    assert!(found[0].starts_with("c.toml:2: route[0].path: expected a path"));
    assert!(found[1].contains(":4: route[1].profile: expected \"v1\" or \"room\" or"));
    assert!(found[2].contains(":5: route[1].room: expected a name"));
    assert!(found[3].contains(":6: route[1].paths: unknown option; did you mean \"path\"?"));
    assert!(found[4].contains(":7: route[2].path: \"/ws\" is the path of route[1], too"));
    assert!(found[5].contains(":9: route[3].path: \"/ws\" is the path of route[2], too"));
}

#[test]
fn a_path_may_end_with_the_room_and_names_it_nowhere_else() {
    let with_path = |path: &str| format!("[[route]]\npath = \"{path}\"");
    for path in ["/{room_id}", "/ws/{room_id}", "/a.b/~c"] {
        let config = load(&file(&with_path(path))).unwrap();
        assert_eq!(config.route[0].is_template(), path.contains('{'), "{path}");
    }
    for path in [
        "{room_id}",
        "/ws-{room_id}",
        "/{room_id}/x",
        "/{room}",
        "/a b",
        "/%41",
        "",
    ] {
        let found = problems(&file(&with_path(path)));
        assert!(
            found[0].starts_with("c.toml:2: route[0].path: expected a path"),
            "{path}"
        );
        assert_eq!(found.len(), 1, "{path}");
    }
    let found = problems(&file(
        "[[route]]\npath = \"/ws/{room_id}\"\nroom = \"hall\"",
    ));
    assert_eq!(
        found,
        ["c.toml:3: route[0].room: \"/ws/{room_id}\" names the room already"]
    );
}

#[test]
fn namespaces_of_a_file_replace_the_default_and_are_checked() {
    let text = "[[namespace]]\npattern = \"team:*\"\ncreate = \"api_only\"\npersist = true\n\
                publish = [\"owner\", \"role:editor\"]\nhistory_ttl = \"1h\"\n\
                [[namespace]]\nmax_clients = 7\n";
    let config = load(&file(text)).unwrap();
    let [team, rest] = config.namespace.as_slice() else {
        panic!("two namespaces")
    };
    assert_eq!(
        (&*team.pattern, team.create, team.persist),
        ("team:*", Create::ApiOnly, true)
    );
    assert_eq!(team.publish, [Who::Owner, Who::Role("editor".into())]);
    assert_eq!((&*rest.pattern, rest.max_clients), ("*", 7));

    let text = "[[namespace]]\npublish = [\"nobody\"]\n[[namespace]]\npattern = \"team:*\"\n\
                [[namespace]]\npattern = \"x*\"\npersists = true\n[[namespace]]\npattern = \"\"\n";
    let found = problems(&file(text));
    assert_eq!(found.len(), 5, "{found:?}");
    assert!(found[0].starts_with("c.toml:2: namespace[0].publish: expected 1..=32 of"));
    assert!(found[1].contains(":7: namespace[2].persists: unknown option; did you mean"));
    assert!(found[2].starts_with("c.toml:9: namespace[3].pattern: expected a name or pattern"));
    assert!(found[3].starts_with("c.toml:4: namespace[1].pattern: \"team:*\" never holds"));
    assert!(found[4].starts_with("c.toml:6: namespace[2].pattern: \"x*\" never holds"));
}

#[test]
fn a_namespace_behind_one_that_matches_all_of_it_is_refused() {
    let patterns = |first: &str, second: &str| {
        file(&format!(
            "[[namespace]]\npattern = \"{first}\"\n\n[[namespace]]\npattern = \"{second}\""
        ))
    };
    for (first, second) in [("*", "a"), ("a*", "a*"), ("a*", "ab*"), ("*b", "a*b")] {
        let found = problems(&patterns(first, second));
        assert_eq!(found.len(), 1, "{first} {second}");
        assert!(
            found[0].starts_with("c.toml:5: namespace[1].pattern"),
            "{found:?}"
        );
    }
    for (first, second) in [("a", "*"), ("ab*", "a*"), ("a*b", "a*"), ("x*", "y*")] {
        assert!(load(&patterns(first, second)).is_ok(), "{first} {second}");
    }
}

#[test]
fn persistent_rooms_need_a_store_and_history_room_for_a_message() {
    let text = "[store]\npath = \"\"\n";
    assert!(load(&file(text)).is_ok(), "nothing is to be stored");
    let found = problems(&file(&format!("{text}[[namespace]]\npersist = true")));
    let expected =
        "c.toml:4: namespace[0].persist: a persistent room needs a store: set store.path";
    assert_eq!(found, [expected]);

    let text = "[[namespace]]\npersist = true\nhistory_bytes = 20000\n[store]\nqueue_bytes = \"64KiB\"\n\
                [limits]\nmax_message_size = \"128KiB\"";
    let found = problems(&file(text));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("c.toml:3: namespace[0].history_bytes: 20000 bytes are too few"));
    assert!(found[1].starts_with("c.toml:5: store.queue_bytes: 65536 bytes are too few"));
    let text = "[[namespace]]\nhistory_size = 0\nhistory_bytes = 1024";
    assert!(load(&file(text)).is_ok(), "nothing is to be kept");
}

#[test]
fn wrong_shapes_are_named() {
    let text = "route = 5\nserver = 1\nlimits = [1]\n";
    assert_eq!(
        problems(&file(text)),
        [
            "c.toml:1: route: expected [[route]], found an integer",
            "c.toml:2: server: expected a section, [server], found an integer",
            "c.toml:3: limits: expected a section, [limits], found a list",
        ]
    );
    let found = problems(&file("[route]\npath = \"/x\""));
    assert_eq!(
        found,
        ["c.toml:1: route: expected [[route]], found a table"]
    );
    assert_eq!(
        problems(&file("route = []")),
        ["c.toml:1: route: expected [[route]], found a list"]
    );
    assert_eq!(
        problems(&file("namespace = [1]")),
        ["c.toml:1: namespace: expected [[namespace]], found an integer"]
    );
    let many = problems(&file(&"[[namespace]]\n".repeat(257)));
    assert_eq!(
        many,
        ["c.toml:1: namespace: expected at most 256 [[namespace]], found 257"]
    );
}
