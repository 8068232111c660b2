//! A server with the API on its port, and its clients.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use campanile::Server;
use campanile::api::{self, ApiOptions, State};
use campanile::auth::keys::{Scope, ServerKeyOptions, ServerKeys};
use campanile::auth::{Authenticator, Gate, GateOptions};
use campanile::realtime::{LimitOptions, Namespace, Realtime, RealtimeOptions};
use campanile::server::Running;
use campanile::store::{Store, StoreThread};
use campanile::testing::StoreFolder;
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

/// A generous bound for what takes a millisecond.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Keys of the server API, by scope.
pub(crate) const PUBLISH: &str = "publish-key-0123456789";
pub(crate) const USERS: &str = "users-key-0123456789";
pub(crate) const ROOMS: &str = "rooms-key-0123456789";
pub(crate) const ADMIN: &str = "admin-key-0123456789";

/// Rooms under `kept/` are in the store.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) gate: Arc<Gate>,
    running: Option<Running<Realtime>>,
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    // In this order: the thread ends before its folder goes.
    store: Option<StoreThread>,
    _folder: StoreFolder,
}

impl Site {
    pub(crate) fn start() -> Self {
        Self::with(ApiOptions::default(), Authenticator::trusting())
    }

    pub(crate) fn with(options: ApiOptions, auth: Authenticator) -> Self {
        Self::with_app(options, auth, |realtime| realtime)
    }

    /// With more than Campanile's own handlers.
    pub(crate) fn with_app(
        options: ApiOptions,
        auth: Authenticator,
        app: impl Fn(Realtime) -> Realtime + Send + Sync + 'static,
    ) -> Self {
        let folder = StoreFolder::new();
        let (store, thread) = Store::open(&folder.options()).unwrap();
        let kept = Namespace {
            pattern: "kept/*".parse().unwrap(),
            persist: true,
            ..Namespace::default()
        };
        let realtime = Arc::new(RealtimeOptions {
            limits: LimitOptions::without_rates(),
            namespaces: vec![kept, Namespace::default()],
            ..RealtimeOptions::default()
        });
        let gate = Arc::new(Gate::new(auth, &GateOptions::default()).unwrap());
        let (of_shards, gate_of_shards) = (store.clone(), Arc::clone(&gate));
        let gate_of_api = Arc::clone(&gate);
        let server = Server::new(move |_| {
            let realtime = Realtime::with_store(Arc::clone(&realtime), of_shards.clone());
            app(realtime.with_gate(Arc::clone(&gate_of_shards)))
        });
        let router = move |handle| {
            let mut state = State::new(handle, options);
            state.gate = gate_of_api;
            state.keys = Arc::new(ArcSwap::from_pointee(keys()));
            state.store = Some(store);
            api::router(state)
        };
        let server = server.listen("127.0.0.1:0").shards(2).router_with(router);
        let running = server.start().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread();
        Self {
            address: running.addresses()[0],
            gate,
            running: Some(running),
            http: reqwest::Client::builder()
                .timeout(PATIENCE)
                .build()
                .unwrap(),
            runtime: { runtime }.enable_all().build().unwrap(),
            store: Some(thread),
            _folder: folder,
        }
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.address);
        self.http.request(method.parse().unwrap(), url)
    }

    pub(crate) fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.run(answer(request))
    }

    /// Asks as a user of trust mode; nobody: as a guest.
    pub(crate) fn user(&self, user: &str, method: &str, path: &str, body: Value) -> Answer {
        let mut request = self.request(method, path);
        if !user.is_empty() {
            request = request.header("x-user-id", user);
        }
        self.send(with_body(request, body))
    }

    /// Asks with a key.
    pub(crate) fn key(&self, key: &str, method: &str, path: &str, body: Value) -> Answer {
        let request = self.request(method, path).bearer_auth(key);
        self.send(with_body(request, body))
    }

    /// A WebSocket of the profile `v1`.
    pub(crate) fn connect(&self, user: &str) -> Client {
        self.connect_to(&format!("/v1/connect?user_id={user}"))
    }

    pub(crate) fn connect_to(&self, target: &str) -> Client {
        self.connect_with(target, None)
    }

    /// With a token in the header.
    pub(crate) fn connect_with(&self, target: &str, token: Option<&str>) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("ws://{}{target}", self.address).into_client_request();
        let mut request = request.unwrap();
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert("authorization", value);
        }
        let (socket, _) = tungstenite::client(request, stream).unwrap();
        let mut client = Client {
            socket,
            id: String::new(),
        };
        let welcome = client.next();
        client.id = welcome["data"]["connection_id"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        client
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.handle().shutdown();
            running.wait();
        }
        drop(self.store.take());
    }
}

fn keys() -> ServerKeys {
    let key = |key: &str, scope| ServerKeyOptions {
        name: key.split('-').next().unwrap().into(),
        key: key.into(),
        scopes: vec![scope],
    };
    let all = [
        key(PUBLISH, Scope::Publish),
        key(USERS, Scope::Users),
        key(ROOMS, Scope::Rooms),
        key(ADMIN, Scope::Admin),
    ];
    ServerKeys::new(&all).unwrap()
}

fn with_body(request: reqwest::RequestBuilder, body: Value) -> reqwest::RequestBuilder {
    if body.is_null() {
        request
    } else {
        request.json(&body)
    }
}

/// A response, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        text: response.text().await.unwrap(),
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The body of a success.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        serde_json::from_str(&self.text).unwrap()
    }

    /// The body of an error, which must be of the one kind and of this status and code.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> Value {
        let body: Value = serde_json::from_str(&self.text)
            .unwrap_or_else(|_| panic!("an error has a JSON body: {self:?}"));
        assert_eq!(
            (self.status, &body["code"]),
            (status, &code.into()),
            "{self:?}"
        );
        assert_eq!(body["status"], status);
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(self.header("x-request-id"), body["request_id"].as_str());
        assert!(
            body["error"].is_string() && body["details"].is_object(),
            "{body}"
        );
        assert!(body["timestamp"].is_string());
        body
    }

    /// 422 about a member; the body.
    #[track_caller]
    pub(crate) fn invalid(&self, member: &str) -> Value {
        let body = self.refused(422, "invalid_message");
        assert_eq!(body["details"]["member"], member, "{body}");
        body
    }
}

/// A WebSocket client.
pub(crate) struct Client {
    socket: WebSocket<TcpStream>,
    /// Its connection's identifier, in the profile `v1`.
    pub(crate) id: String,
}

impl Client {
    pub(crate) fn say(&mut self, message: Value) {
        self.socket
            .send(Message::text(message.to_string()))
            .unwrap();
    }

    /// The next text, or `{"close": code, "reason": …}`.
    pub(crate) fn next(&mut self) -> Value {
        loop {
            match self.socket.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(frame) => {
                    let frame = frame.unwrap();
                    return json!({"close": u16::from(frame.code), "reason": frame.reason.as_str()});
                }
                _ => {}
            }
        }
    }

    /// The next message of a type; those before it are passed over.
    pub(crate) fn until(&mut self, message_type: &str) -> Value {
        loop {
            let message = self.next();
            assert_eq!(message.get("close"), None, "closed");
            if message["type"] == message_type {
                return message;
            }
        }
    }

    /// Waits for the end; the close code.
    pub(crate) fn closed(&mut self) -> u64 {
        loop {
            if let Some(code) = self.next()["close"].as_u64() {
                return code;
            }
        }
    }

    pub(crate) fn subscribe(&mut self, room: &str) {
        self.say(json!({"type": "subscribe", "id": "s", "data": {"topic": room}}));
        let answer = self.until("subscribed");
        assert_eq!(answer["id"], "s", "{answer}");
    }

    /// All that comes before the answer to a ping.
    pub(crate) fn before_pong(&mut self) -> Vec<Value> {
        self.say(json!({"type": "ping"}));
        let mut before = Vec::new();
        loop {
            match self.next() {
                message if message["type"] == "pong" => return before,
                message => before.push(message),
            }
        }
    }
}
