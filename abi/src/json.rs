//! Requests and replies in JSON (feature `json`): members read one by one, so that an error names
//! the member that is wrong.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::context::Context;
use crate::error::{CreateError, ServiceError};

/// Most members in one request; more is refused, so that looking one up stays cheap.
const MEMBERS_MAX: usize = 64;

/// A request that is a JSON object. Members that nobody asks for are tolerated.
///
/// ```
/// # fn main() -> Result<(), gantry_abi::ServiceError> {
/// let body = gantry_abi::json::Body::read(br#"{"card":"C1","amount":500,"note":null}"#)?;
/// let card: &str = body.get("card")?;
/// let amount: i64 = body.get("amount")?;
/// let note: Option<String> = body.opt("note")?;
/// # assert_eq!((card, amount, note), ("C1", 500, None)); Ok(()) }
/// ```
pub struct Body<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Body<'a> {
    /// Reads a request's outer shape.
    ///
    /// # Errors
    /// `bad_request` about `body`: no JSON object, more than 64 members, or a member given twice.
    pub fn read(request: &'a [u8]) -> Result<Self, ServiceError> {
        let members: Members<'a> = serde_json::from_slice(request)
            .map_err(|error| ServiceError::bad_request("body", format!("not a JSON object: {error}")))?;
        Ok(Self { members: members.0 })
    }

    /// The member with this name, as a `T`: numbers, `bool`, `String`, `Vec`, or what derives
    /// `Deserialize`. Borrowed text (`&str`) works unless it has escapes; `Cow<str>` allows them.
    ///
    /// # Errors
    /// `bad_request` about this member: not there, null, or not a `T`.
    pub fn get<T: serde::Deserialize<'a>>(&self, name: &'static str) -> Result<T, ServiceError> {
        self.opt(name)?.ok_or_else(|| ServiceError::bad_request(name, format!("`{name}` is missing")))
    }

    /// As [`Body::get`]; `None` if the member is not there or null.
    ///
    /// # Errors
    /// `bad_request` about this member: not a `T`.
    pub fn opt<T: serde::Deserialize<'a>>(&self, name: &'static str) -> Result<Option<T>, ServiceError> {
        let Some((_, raw)) = self.members.iter().find(|(member, _)| member == name) else {
            return Ok(None);
        };
        serde_json::from_str(raw.get()).map_err(|error| {
            let message = error.to_string();
            // Where in the member, which the caller knows as a part of its own text, helps nobody.
            let (message, _) = message.rsplit_once(" at line ").unwrap_or((&message, ""));
            ServiceError::bad_request(name, format!("`{name}`: {message}"))
        })
    }
}

/// A whole request as a `T` that derives `Deserialize`; members that it does not have are tolerated unless it says
/// `deny_unknown_fields`.
///
/// ```
/// # use serde::Deserialize;
/// #[derive(Deserialize)]
/// struct Recharge<'a> { card: &'a str, amount: i64 }
/// let asked: Recharge<'_> = gantry_abi::json::request(br#"{"card":"C1","amount":500}"#)?;
/// # assert_eq!((asked.card, asked.amount), ("C1", 500));
/// # Ok::<(), gantry_abi::ServiceError>(())
/// ```
///
/// # Errors
/// `bad_request` about the member that is wrong, by its path such as `items[2].amount`; about `body` if it is no JSON.
pub fn request<'r, T: serde::Deserialize<'r>>(request: &'r [u8]) -> Result<T, ServiceError> {
    let (field, message) = match read_typed(request) {
        Ok(read) => return Ok(read),
        Err(told) => told,
    };
    Err(ServiceError::bad_request(field, message))
}

/// The text of a service's configuration as a `T` that derives `Deserialize`; an empty text is `{}`.
///
/// # Errors
/// What is wrong, and where.
pub fn config<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, CreateError> {
    let text = if text.is_empty() { "{}" } else { text };
    read_typed(text.as_bytes()).map_err(|(field, message)| CreateError::from(format!("{field}: {message}")))
}

/// A `T`, or which member is wrong and why.
fn read_typed<'r, T: serde::Deserialize<'r>>(text: &'r [u8]) -> Result<T, (String, String)> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let message = error.inner().to_string();
        let (message, _) = message.rsplit_once(" at line ").unwrap_or((&message, ""));
        // A member that is missing is not on the path: it is where it should be, and serde names it.
        let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split_once('`'));
        let field = match (path.as_str(), missing) {
            (".", Some((member, _))) => member.to_owned(),
            (".", None) => "body".to_owned(),
            (path, Some((member, _))) => format!("{path}.{member}"),
            (path, None) => path.to_owned(),
        };
        (field, message.to_owned())
    })?;
    reader.end().map_err(|error| ("body".to_owned(), error.to_string()))?;
    Ok(read)
}

impl Context<'_> {
    /// Makes `answer`, as JSON, the reply, straight into the memory it is sent from.
    ///
    /// # Errors
    /// As [`Context::reply`], or the answer cannot be written as JSON.
    pub fn reply_json<T: serde::Serialize + ?Sized>(&mut self, answer: &T) -> Result<(), ServiceError> {
        serde_json::to_writer(self.writer(), answer)
            .map_err(|error| ServiceError::failed(format!("the reply was not written: {error}")))
    }
}

/// The members of an object in their order, with values that are not looked into yet.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// Text that is borrowed where it has no escapes; serde's own `Cow` never borrows in a map's key.
struct Name<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> serde::de::Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
}

struct MembersVisitor;

impl<'de> serde::de::Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        use serde::de::Error;
        let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::with_capacity(8);
        while let Some((Name(name), raw)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
            if members.len() == MEMBERS_MAX {
                return Err(A::Error::custom(format!("more than {MEMBERS_MAX} members")));
            }
            if members.iter().any(|(member, _)| *member == name) {
                return Err(A::Error::custom(format!("`{name}` is given twice")));
            }
            members.push((name, raw));
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field_of(error: ServiceError) -> String {
        match error {
            ServiceError::Business { code, field, .. } => {
                assert_eq!(code, "bad_request");
                field.unwrap().into_owned()
            }
            ServiceError::Failed(message) | ServiceError::Again(message) => panic!("a failure: {message}"),
        }
    }

    #[test]
    fn body_that_is_no_object_is_refused_as_body() {
        for request in ["", "[]", "null", "{", "{}x", "\"a\"", "{\"a\":1,\"a\":2}", "\u{0}"] {
            let error = Body::read(request.as_bytes()).err().unwrap();
            assert_eq!(field_of(error), "body", "{request}");
        }
        let many: Vec<String> = (0..65).map(|n| format!("\"m{n}\":0")).collect();
        let error = Body::read(format!("{{{}}}", many.join(",")).as_bytes()).err().unwrap();
        assert_eq!(field_of(error), "body");
        assert_eq!(field_of(Body::read(b"{\"a\":\"\xff\"}").err().unwrap()), "body");
    }

    #[test]
    fn member_that_is_wrong_is_named() {
        let body = Body::read(br#"{"n":"7","big":9223372036854775808,"f":1.5,"nil":null}"#).unwrap();
        for name in ["n", "big", "f", "nil", "missing"] {
            assert_eq!(field_of(body.get::<i64>(name).unwrap_err()), name);
        }
        let ServiceError::Business { message, .. } = body.get::<i64>("n").unwrap_err() else {
            panic!("a failure")
        };
        assert_eq!(message, r#"`n`: invalid type: string "7", expected i64"#);
        assert_eq!(body.opt::<i64>("nil").unwrap(), None);
        assert_eq!(body.opt::<i64>("missing").unwrap(), None);
    }

    #[test]
    fn escaped_text_is_read_where_it_is_owned() {
        let body = Body::read(br#"{"a\u0062":"x\ny","plain":"z"}"#).unwrap();
        assert_eq!(body.get::<String>("ab").unwrap(), "x\ny");
        assert_eq!(body.get::<Cow<'_, str>>("ab").unwrap(), "x\ny");
        assert_eq!(body.get::<&str>("plain").unwrap(), "z");
        assert_eq!(field_of(body.get::<&str>("ab").unwrap_err()), "ab");
    }
}
