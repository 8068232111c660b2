//! The options of the realtime application, as the configuration has them.

use campanile::config::{self, Config, Origin};
use campanile::realtime::protocol::Profile;
use campanile::realtime::{
    ContentOptions, ControlCharacters, Create, DeliveryOptions, DeliveryProof, HistoryOptions,
    LimitOptions, Namespace, PlainText, PresenceOptions, RealtimeOptions, RetentionOptions, Route,
};
use campanile::store::{StoreOptions, Synchronous};

pub(super) fn realtime_options(config: &Config) -> RealtimeOptions {
    let (presence, messaging) = (&config.presence, &config.messaging);
    RealtimeOptions {
        routes: config.route.iter().map(|r| route(config, r)).collect(),
        namespaces: config.namespace.iter().map(namespace).collect(),
        presence: PresenceOptions {
            members_max: presence.max_members,
            leave_delay: presence.leave_delay,
            info_bytes_max: presence.max_info_size,
        },
        limits: limits(&config.limits),
        delivery: delivery(&config.delivery),
        dedupe_window: messaging.dedupe_window,
        plain_text: match messaging.plain_text {
            config::PlainText::Profile => PlainText::Profile,
            config::PlainText::Chat => PlainText::Chat,
            config::PlainText::Reject => PlainText::Reject,
        },
        rpc_timeout: config.rpc.timeout,
        may_broadcast: messaging.broadcast.clone(),
        may_notify: messaging.notify.clone(),
        may_create_rooms: messaging.create_rooms.clone(),
        echo_to_sender: messaging.echo_to_sender,
        verbose_logging: config.server.verbose_logging,
    }
}

/// Where and how to store. `None`: nowhere, because `store.path` is empty, or because in development mode,
/// which leaves nothing on the disk unasked, no room persists.
pub(super) fn store_options(config: &Config, origin: &Origin) -> Option<StoreOptions> {
    let persists = config.namespace.iter().any(|namespace| namespace.persist);
    let store = &config.store;
    // Pairings are kept wherever there is a store, so a server that is meant to last has one.
    let is_meant_to_last = *origin != Origin::Development && !store.path.is_empty();
    (persists || is_meant_to_last).then(|| StoreOptions {
        synchronous: match store.synchronous {
            config::Synchronous::Full => Synchronous::Full,
            config::Synchronous::Normal => Synchronous::Normal,
        },
        queue_max: store.max_queued_requests,
        queue_bytes_max: store.queue_bytes,
        file_bytes_max: store.max_file_size as u64,
        ..StoreOptions::new(&store.path)
    })
}

fn route(config: &Config, route: &config::Route) -> Route {
    Route {
        path: route.path.clone(),
        profile: match route.profile {
            config::Profile::V1 => Profile::V1,
            config::Profile::Room => Profile::Room,
            config::Profile::Message => Profile::Message,
            config::Profile::Flat => Profile::Flat,
        },
        room: (!route.room.is_empty()).then(|| route.room.clone()),
        presence: route.presence,
        message_bytes_max: Some(config.max_message_size(route)),
    }
}

fn namespace(namespace: &config::Namespace) -> Namespace {
    Namespace {
        pattern: namespace.pattern.clone(),
        create: match namespace.create {
            config::Create::OnDemand => Create::OnDemand,
            config::Create::ApiOnly => Create::ApiOnly,
        },
        members_max: namespace.max_clients,
        private: namespace.private,
        history: HistoryOptions {
            size: namespace.history_size,
            ttl: namespace.history_ttl,
            bytes: namespace.history_bytes,
        },
        persist: namespace.persist,
        retention: RetentionOptions {
            messages: namespace.retention_messages,
            age: namespace.retention_age,
            bytes: namespace.retention_bytes as u64,
        },
        presence: namespace.presence,
        join_leave: namespace.join_leave,
        cleanup_after: namespace.cleanup_after,
        publish: namespace.publish.clone(),
        content: ContentOptions {
            chars_max: namespace.max_content_chars,
            control_characters: match namespace.control_characters {
                config::ControlCharacters::Allow => ControlCharacters::Allow,
                config::ControlCharacters::Strip => ControlCharacters::Strip,
                config::ControlCharacters::Reject => ControlCharacters::Reject,
            },
        },
    }
}

fn limits(limits: &config::Limits) -> LimitOptions {
    LimitOptions {
        rooms_per_connection_max: limits.max_rooms_per_connection,
        rooms_max: limits.max_rooms_per_shard,
        messages_per_second: limits.messages_per_second,
        burst: limits.burst,
        user_messages_per_second: limits.user_messages_per_second,
        user_burst: limits.user_burst,
    }
}

fn delivery(delivery: &config::Delivery) -> DeliveryOptions {
    DeliveryOptions {
        enabled: delivery.enabled,
        proof: match delivery.proof {
            config::DeliveryProof::Pong => DeliveryProof::Pong,
            config::DeliveryProof::Ack => DeliveryProof::Ack,
            config::DeliveryProof::Write => DeliveryProof::Write,
        },
        recipients_max: delivery.max_recipients,
        replay_on_connect: delivery.replay_on_connect,
        ping_interval: delivery.ping_interval,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_the_configuration_are_those_of_the_library() {
        let mut library = RealtimeOptions {
            namespaces: vec![Namespace::default()],
            ..RealtimeOptions::default()
        };
        for route in &mut library.routes {
            route.message_bytes_max = Some(32_768);
        }
        assert_eq!(realtime_options(&Config::default()), library);
    }
}
