//! The documents about the interfaces: OpenAPI, made of the routes, and AsyncAPI.

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};
use utoipa::{PartialSchema, ToSchema};

use super::objects::Error;

const ASYNCAPI: &str = include_str!("../../docs/asyncapi.yaml");

/// What the document says besides its paths.
pub(super) fn frame() -> OpenApi {
    let license = LicenseBuilder::new().name("MIT OR Apache-2.0");
    let info = InfoBuilder::new()
        .title("Campanile")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "The HTTP API of a Campanile server: rooms, messages, users, pairings, health. Its WebSockets: \
             /asyncapi.yaml.",
        ))
        .license(Some(license.build()));
    let bearer = |description: &str| {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        SecurityScheme::Http(scheme.description(Some(description)).build())
    };
    let mut schemas = Vec::new();
    Error::schemas(&mut schemas);
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .schema(Error::name(), Error::schema())
        .security_scheme("user_token", bearer("A user's JSON Web Token"))
        .security_scheme(
            "server_key",
            bearer("A key of the server API: `[[api.key]]`"),
        );
    OpenApiBuilder::new()
        .info(info.build())
        .components(Some(components.build()))
        .build()
}

/// Serves both documents.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(openapi: &OpenApi) -> Router<S> {
    let json = openapi.to_json().expect("plain data");
    let json = Bytes::from(json);
    Router::new()
        .route(
            "/openapi.json",
            get(async move || ([(CONTENT_TYPE, "application/json")], json.clone())),
        )
        .route(
            "/asyncapi.yaml",
            get(|| async { ([(CONTENT_TYPE, "application/yaml")], ASYNCAPI) }),
        )
}
