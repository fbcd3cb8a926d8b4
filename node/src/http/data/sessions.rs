//! `/api/v1/sessions` and `/api/v1/users`: for the platform's servers.

use std::{collections::BTreeMap, fmt};

use hexpop_edge_config::Territory;
use hexpop_router::{
    FieldPlace as Place, NewSession, Problem as ProblemType, PutBody, SessionOrigin, SessionReply,
    TOKEN_HEADER, condition_of,
};
use hexpop_shard::SessionLimits;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{
    Answer, DataPort, Exchange,
    headers::{ask, ask_write, describe, json, set},
};
use crate::http::{
    body::{empty, read_bounded},
    guard::expect_media_type,
    problem::Problem,
};

/// The longest life of a session, seconds.
const TTL_SECONDS_MAX: u64 = 2_592_000;
/// The life of a session that says nothing about it, seconds.
const TTL_SECONDS_DEFAULT: u64 = 1_800;

impl DataPort {
    /// `POST /api/v1/sessions`.
    pub(super) async fn sessions(&self, exchange: Exchange) -> Answer {
        if exchange.method != Method::POST {
            return Err(Problem::method_not_allowed("POST"));
        }
        Self::authorize(&exchange)?;
        let idempotency_key = idempotency_key(&exchange)?;
        let context = ask_write(&exchange);
        let (territory, body) = Self::read_session(exchange, true).await?;
        let Some(territory) = territory else {
            return Err(Problem::new(ProblemType::Internal, "the territory was not checked"));
        };
        let new = NewSession { territory, body, idempotency_key };
        let reply = self.context.router.session_create(new, &context).await?;
        let mut response = session_response(&reply)?;
        let location = format!("/api/v1/sessions/{}", reply.head.id.as_str());
        set(response.headers_mut(), "location", &location);
        Ok(response)
    }

    /// `GET`, `PUT` and `DELETE /api/v1/sessions/{id}`.
    pub(super) async fn session(&self, exchange: Exchange, id: &str) -> Answer {
        let router = &self.context.router;
        match exchange.method {
            Method::GET => {
                Self::authorize(&exchange)?;
                let reply = router.session_get(id, &ask(&exchange)?).await?;
                session_response(&reply)
            }
            Method::PUT => {
                Self::authorize(&exchange)?;
                let condition = condition_of(&exchange.headers)?;
                let context = ask_write(&exchange);
                let (_territory, body) = Self::read_session(exchange, false).await?;
                let reply = router.session_put(id, body, condition, &context).await?;
                session_response(&reply)
            }
            Method::DELETE => {
                Self::authorize(&exchange)?;
                let condition = condition_of(&exchange.headers)?;
                let context = ask_write(&exchange);
                let token = router.session_delete(id, condition, &context).await?;
                Ok(no_content(&token.encode()))
            }
            _ => Err(Problem::method_not_allowed("GET, HEAD, PUT, DELETE")),
        }
    }

    /// `POST /api/v1/sessions/{id}/touch`.
    pub(super) async fn touch(&self, exchange: Exchange, id: &str) -> Answer {
        if exchange.method != Method::POST {
            return Err(Problem::method_not_allowed("POST"));
        }
        Self::authorize(&exchange)?;
        let token = self.context.router.session_touch(id, &ask_write(&exchange)).await?;
        Ok(no_content(&token.encode()))
    }

    /// `DELETE /api/v1/users/{id}/data`.
    pub(super) async fn user_data(&self, exchange: Exchange, id: &str) -> Answer {
        if exchange.method != Method::DELETE {
            return Err(Problem::method_not_allowed("DELETE"));
        }
        Self::authorize(&exchange)?;
        let erasure = self.context.router.erase_user(id, &ask_write(&exchange)).await?;
        let status = if erasure.is_complete() { StatusCode::OK } else { StatusCode::ACCEPTED };
        let mut response = json(status, &erasure)?;
        // Where one learns how far shards and disks are.
        let location = receipt_path(&exchange.path, &erasure.erasure_id.to_string());
        set(response.headers_mut(), "location", &location);
        no_store(response)
    }

    /// `GET /api/v1/users/{id}/erasures/{erasure}`.
    pub(super) async fn erasure(&self, exchange: Exchange, user: &str, id: &str) -> Answer {
        if exchange.method != Method::GET {
            return Err(Problem::method_not_allowed("GET, HEAD"));
        }
        Self::authorize(&exchange)?;
        let erasure = self.context.router.erasure(user, id, &ask(&exchange)?).await?;
        no_store(json(StatusCode::OK, &erasure)?)
    }

    /// `GET /api/v1/users/{id}/export`.
    pub(super) async fn user_export(&self, exchange: Exchange, id: &str) -> Answer {
        if exchange.method != Method::GET {
            return Err(Problem::method_not_allowed("GET, HEAD"));
        }
        Self::authorize(&exchange)?;
        let export = self.context.router.export_user(id, &ask(&exchange)?).await?;
        no_store(json(StatusCode::OK, &export)?)
    }

    /// Reads and checks the body of a create or put; everything that is wrong is reported at once.
    async fn read_session(
        exchange: Exchange,
        with_territory: bool,
    ) -> Result<(Option<Territory>, PutBody), Problem> {
        let options = &exchange.live.data;
        expect_media_type(&exchange.headers, "application/json")?;
        let body = read_bounded(exchange.body, options.body_bytes_max, options.body_idle).await?;
        parse(&body, with_territory, options.session_limits)
    }
}

/// Where the receipt of an erasure is that was asked for at `path`, which ends in `/data`: once, since
/// a user may have that name too.
fn receipt_path(path: &str, erasure: &str) -> String {
    let user = path.strip_suffix("/data").unwrap_or(path);
    format!("{user}/erasures/{erasure}")
}

fn parse(
    body: &[u8],
    with_territory: bool,
    limits: SessionLimits,
) -> Result<(Option<Territory>, PutBody), Problem> {
    let malformed =
        |error: serde_json::Error| Problem::new(ProblemType::MalformedJson, error.to_string());
    let text: &RawValue = serde_json::from_slice(body).map_err(malformed)?;
    if !text.get().starts_with('{') {
        return Err(Problem::new(ProblemType::InvalidRequest, "the body must be a JSON object")
            .at(Place::Pointer("#".into()), "must be an object"));
    }
    let Members(members) = serde_json::from_str(text.get()).map_err(malformed)?;
    let mut fields = Fields { members, wrong: Vec::new() };
    let territory = if with_territory { fields.territory() } else { None };
    let user = fields.user();
    let ttl_seconds = fields.ttl();
    let sliding = fields.sliding();
    let data = fields.data();
    if data.len() > limits.sealed_bytes.saturating_sub(SessionLimits::SEAL_OVERHEAD) as usize {
        let most = limits.sealed_bytes - SessionLimits::SEAL_OVERHEAD;
        return Err(Problem::new(
            ProblemType::TooLarge,
            format!("the session's data has {} bytes; at most {most} are kept", data.len()),
        )
        .at(Place::Pointer("#/data".into()), format!("must have at most {most} bytes")));
    }
    // Kept as it came, it is to be read by whoever gets it back: scanning it has not looked at half
    // surrogates, numbers beyond any range, and how deep it nests.
    drop(serde_json::from_str::<Value>(data).map_err(malformed)?);
    let data = RawValue::from_string(data.to_owned()).map_err(malformed)?;
    let known = if with_territory {
        "territory, userId, ttlSeconds, sliding, data"
    } else {
        "userId, ttlSeconds, sliding, data"
    };
    for name in std::mem::take(&mut fields.members).keys() {
        fields.wrong(name, &format!("unknown field; there are {known}"));
    }
    if !fields.wrong.is_empty() {
        let count = fields.wrong.len();
        let detail = if count == 1 {
            "1 field is wrong".to_owned()
        } else {
            format!("{count} fields are wrong")
        };
        return Err(fields.wrong.into_iter().fold(
            Problem::new(ProblemType::InvalidRequest, detail),
            |problem, (place, detail)| problem.at(place, detail),
        ));
    }
    let ttl_ms = ttl_seconds.saturating_mul(1_000);
    Ok((territory, PutBody { user, ttl_ms, sliding, data, limits }))
}

/// The members of a body, each as the text it came as: what is opaque here is not taken apart.
struct Members<'a>(BTreeMap<String, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = BTreeMap<String, &'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    // Which of two would count is for nobody to guess.
                    if members.contains_key(&name) {
                        return Err(de::Error::custom(format!("the member {name:?} comes twice")));
                    }
                    members.insert(name, value);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Each).map(Members)
    }
}

/// The members of a body that are still to be looked at, and what was wrong so far.
struct Fields<'a> {
    members: BTreeMap<String, &'a RawValue>,
    wrong: Vec<(Place, String)>,
}

impl<'a> Fields<'a> {
    fn wrong(&mut self, name: &str, detail: &str) {
        let pointer = format!("#/{}", name.replace('~', "~0").replace('/', "~1"));
        self.wrong.push((Place::Pointer(pointer), detail.to_owned()));
    }

    /// Takes a member: `None` = it is not there, `Some(None)` = it is no `T`.
    fn take<T: Deserialize<'a>>(&mut self, name: &str) -> Option<Option<T>> {
        self.members.remove(name).map(|value| serde_json::from_str(value.get()).ok())
    }

    fn territory(&mut self) -> Option<Territory> {
        let text = self.take::<String>("territory").flatten();
        let parsed = text.and_then(|text| text.parse().ok());
        if parsed.is_none() {
            self.wrong("territory", "must be a territory such as \"IT:lombardia\"");
        }
        parsed
    }

    fn user(&mut self) -> String {
        let most = hexpop_shard::USER_ID_MAX_BYTES;
        let fits = |text: &String| !text.is_empty() && text.len() <= most;
        self.take::<String>("userId").flatten().filter(fits).unwrap_or_else(|| {
            self.wrong("userId", &format!("must be a text of 1 to {most} bytes"));
            String::new()
        })
    }

    fn ttl(&mut self) -> u64 {
        match self.take::<u64>("ttlSeconds") {
            None => TTL_SECONDS_DEFAULT,
            Some(Some(seconds @ 1..=TTL_SECONDS_MAX)) => seconds,
            Some(_) => {
                let detail = format!("must be a whole number from 1 to {TTL_SECONDS_MAX}");
                self.wrong("ttlSeconds", &detail);
                TTL_SECONDS_DEFAULT
            }
        }
    }

    fn sliding(&mut self) -> bool {
        match self.take::<bool>("sliding") {
            None => false,
            Some(Some(sliding)) => sliding,
            Some(None) => {
                self.wrong("sliding", "must be true or false");
                false
            }
        }
    }

    /// The value as it came; `null` if there is none.
    fn data(&mut self) -> &'a str {
        self.members.remove("data").map_or("null", RawValue::get)
    }
}

/// `Idempotency-Key`: a structured-field string; a bare token is taken too.
fn idempotency_key(exchange: &Exchange) -> Result<Option<String>, Problem> {
    let mut values = exchange.headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let wrong = |detail: &str| {
        Problem::new(ProblemType::InvalidRequest, "Idempotency-Key is not valid")
            .at(Place::Header("Idempotency-Key".into()), detail)
    };
    if values.next().is_some() {
        return Err(wrong("must be given once"));
    }
    let text = value.to_str().map_err(|_not_ascii| wrong("must be ASCII text"))?.trim();
    let key = match text.strip_prefix('"') {
        Some(rest) => {
            rest.strip_suffix('"').ok_or_else(|| wrong("the closing quote is missing"))?
        }
        None => text,
    };
    if key.is_empty() || key.len() > 255 {
        return Err(wrong("must have 1 to 255 characters"));
    }
    Ok(Some(key.to_owned()))
}

fn session_response(reply: &SessionReply) -> Answer {
    let status = match reply.origin {
        SessionOrigin::Created | SessionOrigin::Repeated => StatusCode::CREATED,
        SessionOrigin::Read | SessionOrigin::Replaced => StatusCode::OK,
    };
    let mut response = json(status, &reply.body())?;
    let headers = response.headers_mut();
    describe(headers, reply.given.as_ref(), reply.cache_status.as_deref());
    set(headers, TOKEN_HEADER, &reply.token.encode());
    set(headers, "etag", &reply.etag());
    if reply.origin == SessionOrigin::Repeated {
        headers.insert("hexpop-replayed", HeaderValue::from_static("?1"));
    }
    no_store(response)
}

/// Sessions and users' data are in no cache, ours or another's.
fn no_store(mut response: Response<crate::http::body::Body>) -> Answer {
    let value = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, value);
    Ok(response)
}

fn no_content(token: &str) -> Response<crate::http::body::Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    set(response.headers_mut(), TOKEN_HEADER, token);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receipt_of_a_user_named_data_is_that_users() {
        assert_eq!(receipt_path("/api/v1/users/u1/data", "0a"), "/api/v1/users/u1/erasures/0a");
        assert_eq!(receipt_path("/api/v1/users/data/data", "0a"), "/api/v1/users/data/erasures/0a");
    }

    fn places(body: &str, with_territory: bool) -> Vec<String> {
        let problem = parse(body.as_bytes(), with_territory, SessionLimits::default()).unwrap_err();
        problem
            .error
            .errors
            .iter()
            .map(|error| match &error.place {
                Place::Pointer(at) | Place::Parameter(at) | Place::Header(at) => at.clone(),
            })
            .collect()
    }

    #[test]
    fn all_wrong_fields_are_named_at_once() {
        let body = r#"{"territory":"IT","ttlSeconds":0,"sliding":1,"x/y":2}"#;
        assert_eq!(
            places(body, true),
            ["#/territory", "#/userId", "#/ttlSeconds", "#/sliding", "#/x~1y"]
        );
        assert_eq!(places(r#"{"userId":"u","territory":"IT:lazio"}"#, false), ["#/territory"]);
        assert_eq!(places("[]", true), ["#"]);
    }

    #[test]
    fn defaults_are_filled_in_and_data_is_kept_as_it_came() {
        let body = r#"{"userId":"u1","data":{"big":123456789012345678901234567890, "b" : 1.0}}"#;
        let (_none, parsed) = parse(body.as_bytes(), false, SessionLimits::default()).unwrap();
        assert_eq!(parsed.ttl_ms, 1_800_000);
        assert_eq!(parsed.data.get(), r#"{"big":123456789012345678901234567890, "b" : 1.0}"#);
    }

    #[test]
    fn a_member_that_comes_twice_is_refused() {
        let body = br#"{"userId":"u1","data":1,"data":2}"#;
        let problem = parse(body, false, SessionLimits::default()).unwrap_err();
        assert_eq!(problem.error.status, 400);
        assert!(problem.error.detail.contains("comes twice"), "{}", problem.error.detail);
    }

    #[test]
    fn data_that_its_readers_could_not_read_is_refused() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for data in [r#""\ud800""#, "1e999", deep.as_str()] {
            let body = format!(r#"{{"userId":"u1","data":{data}}}"#);
            let problem = parse(body.as_bytes(), false, SessionLimits::default()).unwrap_err();
            assert_eq!(problem.error.status, 400, "{data}");
        }
    }

    #[test]
    fn too_much_data_is_413() {
        let body = format!(r#"{{"userId":"u1","data":"{}"}}"#, "x".repeat(70_000));
        let problem = parse(body.as_bytes(), false, SessionLimits::default()).unwrap_err();
        assert_eq!(problem.error.status, 413);
    }
}
