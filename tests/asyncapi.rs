//! `docs/asyncapi.yaml` says what is true: its schemas hold for all frames of a real server and leave
//! no member out, its examples are such frames or are taken by the server, and nothing is missing.

mod frames;

use std::collections::{BTreeMap, BTreeSet};

use campanile::realtime::handlers::Rpc;
use campanile::realtime::protocol::{BuiltIn, ErrorCode, Profile};
use campanile::realtime::{Registry, Route};
use frames::Shapes;
use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

const TEXT: &str = include_str!("../docs/asyncapi.yaml");

fn document() -> Value {
    serde_saphyr::from_str(TEXT).expect("it is YAML")
}

/// A message of the document.
struct Message<'d> {
    key: &'d str,
    name: &'d str,
    payload: &'d Value,
    examples: &'d [Value],
}

/// The messages of one side, `Server` or `Client`.
fn messages<'d>(document: &'d Value, side: &str) -> Vec<Message<'d>> {
    let all = document["components"]["messages"].as_object();
    let all = all.expect("there are messages").iter();
    let of_side = all.filter(|(key, _)| key.starts_with(side));
    let messages = of_side.map(|(key, message)| Message {
        key,
        name: message["name"].as_str().expect("a message has a name"),
        payload: &message["payload"],
        examples: message["examples"].as_array().expect("and examples"),
    });
    messages.collect()
}

/// The validator of a schema of the document.
fn validator(document: &Value, schema: &Value) -> Validator {
    let schemas = &document["components"]["schemas"];
    let schema = json!({"components": {"schemas": schemas}, "allOf": [schema]});
    let options = jsonschema::options().with_draft(Draft::Draft7);
    options
        .build(&schema)
        .unwrap_or_else(|error| panic!("{schema}: {error}"))
}

/// A message's alternative for a profile.
fn alternative<'d>(message: &Message<'d>, profile: &str) -> &'d Value {
    let alternatives = message.payload["anyOf"].as_array();
    let found = alternatives.and_then(|all| all.iter().find(|a| a["title"] == profile));
    found.unwrap_or_else(|| panic!("{} has nothing for {profile}", message.key))
}

/// What a schema consists of, whatever combines it.
fn parts<'d>(document: &'d Value, schema: &'d Value, found: &mut Vec<&'d Value>) {
    found.push(schema);
    if let Some(Value::String(reference)) = schema.get("$ref") {
        let pointer = reference.trim_start_matches('#');
        let target = document.pointer(pointer);
        parts(
            document,
            target.expect("a reference leads somewhere"),
            found,
        );
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        let schemas = schema.get(name).and_then(Value::as_array);
        for schema in schemas.into_iter().flatten() {
            parts(document, schema, found);
        }
    }
}

/// The first member of a value that none of the schemas describes.
fn undescribed(document: &Value, schemas: &[&Value], value: &Value) -> Option<String> {
    let mut all = Vec::new();
    schemas
        .iter()
        .for_each(|schema| parts(document, schema, &mut all));
    match value {
        Value::Object(_) if all.iter().any(|s| s["additionalProperties"] == true) => None,
        Value::Object(members) => members.iter().find_map(|(name, value)| {
            let schemas = all
                .iter()
                .filter_map(|schema| schema["properties"].get(name));
            let schemas: Vec<&Value> = schemas.collect();
            if schemas.is_empty() {
                return Some(name.clone());
            }
            undescribed(document, &schemas, value)
        }),
        Value::Array(items) => {
            let schemas: Vec<&Value> = all
                .iter()
                .filter_map(|schema| schema.get("items"))
                .collect();
            let mut items = items.iter();
            items.find_map(|item| undescribed(document, &schemas, item))
        }
        _ => None,
    }
}

#[test]
fn every_frame_of_the_server_is_described_to_its_last_member() {
    let document = document();
    let messages = messages(&document, "Server");
    let mut validators = BTreeMap::new();
    let mut faults = BTreeSet::new();
    for frame in frames::perform().0 {
        let (name, profile) = (&frame.value["type"], frame.profile.as_str());
        let message = messages.iter().find(|message| *name == message.name);
        let message = message.unwrap_or_else(|| panic!("{name} is not in the document"));
        let schema = alternative(message, profile);
        let validator = validators
            .entry((message.key, profile))
            .or_insert_with(|| validator(&document, schema));
        if let Err(error) = validator.validate(&frame.value) {
            faults.insert(format!("{name} {profile}: {error}"));
        }
        if let Some(member) = undescribed(&document, &[schema], &frame.value) {
            faults.insert(format!("{name} {profile}: nothing is said of {member:?}"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(validators.len(), messages.len() * Profile::ALL.len());
}

#[test]
fn the_servers_examples_are_frames_of_the_server() {
    let document = document();
    let shapes = Shapes::of(&frames::perform().0);
    for message in messages(&document, "Server") {
        assert!(!message.examples.is_empty(), "{}", message.key);
        for example in message.examples {
            let profile = example["name"].as_str().expect("the name is the profile");
            let payload = &example["payload"];
            assert_eq!(shapes.deny(profile, payload), None);
            let validator = validator(&document, alternative(&message, profile));
            let fault = validator.validate(payload).err();
            assert!(fault.is_none(), "{payload}: {fault:?}");
        }
    }
}

#[test]
fn the_clients_examples_are_taken_by_the_server() {
    let document = document();
    for message in messages(&document, "Client") {
        assert!(!message.examples.is_empty(), "{}", message.key);
        let validator = validator(&document, message.payload);
        for example in message.examples {
            let payload = &example["payload"];
            let fault = validator.validate(payload).err();
            assert!(fault.is_none(), "{payload}: {fault:?}");
            let profile = example["name"].as_str().and_then(Profile::from_name);
            let profile = profile.expect("the name is the profile");
            let refused = example["summary"].as_str();
            let refused = refused.and_then(|summary| summary.strip_prefix("Refused with "));
            let refused: Vec<&str> = refused.into_iter().collect();
            let refusals = frames::refusals(profile, &payload.to_string());
            assert_eq!(refusals, refused, "{payload}");
        }
        // And not just anything.
        assert!(!validator.is_valid(&json!({"type": "another", "data": {}})));
        assert!(!validator.is_valid(&json!([])));
    }
}

/// The types that `payload` has writers for: the first word in the comment of each.
fn written_types() -> BTreeSet<&'static str> {
    let source = include_str!("../src/realtime/protocol/payload.rs");
    let comments = source
        .split("\n\n")
        .filter(|item| item.contains("\npub fn "));
    let types = comments.filter_map(|item| item.split_once("/// `")?.1.split('`').next());
    types.collect()
}

#[test]
fn every_type_is_there() {
    let document = document();
    let names = |side| -> BTreeSet<&str> {
        let messages = messages(&document, side);
        messages.iter().map(|message| message.name).collect()
    };
    let registry = Registry::default();
    let taken = BuiltIn::ALL.iter().map(|built_in| built_in.as_str());
    let taken: BTreeSet<&str> = taken.filter(|name| registry.contains(name)).collect();
    assert_eq!(names("Client"), taken);
    let frames = frames::perform().0;
    let sent = frames
        .iter()
        .filter_map(|frame| frame.value["type"].as_str());
    assert_eq!(names("Server"), sent.collect());
    let written = written_types();
    assert!(written.len() > 12, "{written:?}");
    assert!(written.is_subset(&names("Server")), "{written:?}");
}

#[test]
fn every_path_has_a_channel_with_all_messages() {
    let document = document();
    let routes = Route::defaults();
    let channels = document["channels"].as_object().expect("channels");
    assert_eq!(channels.len(), routes.len());
    for route in routes {
        let profile = route.profile.as_str();
        let channel = &channels[profile];
        assert_eq!(channel["address"], json!(route.path));
        for (side, action) in [("Server", "send"), ("Client", "receive")] {
            let operation = &document["operations"][format!("{profile}-{action}")];
            assert_eq!(operation["action"], action);
            let reference = format!("#/channels/{profile}");
            assert_eq!(operation["channel"]["$ref"], json!(reference));
            let expected = messages(&document, side).into_iter().map(|message| {
                let key = message.key;
                let target = format!("#/components/messages/{key}");
                assert_eq!(channel["messages"][key]["$ref"], json!(target));
                format!("{reference}/messages/{key}")
            });
            let listed = operation["messages"].as_array().expect("messages");
            let listed = listed.iter().filter_map(|message| message["$ref"].as_str());
            let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
            assert_eq!(listed, expected.collect());
        }
    }
}

#[test]
fn codes_and_methods_are_those_of_the_code() {
    let document = document();
    let codes = &document["components"]["schemas"]["Error"]["properties"]["code"]["enum"];
    assert_eq!(*codes, json!(ErrorCode::ALL.map(ErrorCode::as_str)));
    let call = document["components"]["schemas"]["Call"].to_string();
    let methods = format!("{:?}", Rpc::default());
    for method in methods.split('"').skip(1).step_by(2) {
        assert!(call.contains(&format!("`{method}`")), "{method}");
    }
    let version = document["asyncapi"].as_str();
    assert!(version.is_some_and(|version| version.starts_with("3.")));
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
}
