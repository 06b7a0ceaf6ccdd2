//! URLs of Redis servers.

use super::{good, refused};
use crate::{RedisAddress, RedisForm, RedisUrl, RedisUrlError};

fn url(text: &str) -> RedisUrl {
    RedisUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn address(host: &str, port: u16) -> RedisAddress {
    RedisAddress { host: host.to_owned(), port }
}

#[test]
fn the_three_forms_of_a_redis_are_read() {
    let one = url("redis://cache");
    assert_eq!((one.form, one.addresses), (RedisForm::Single, vec![address("cache", 6379)]));
    assert_eq!((one.username, one.password.is_empty(), one.database), (None, true, 0));

    let one = url("redis://toll:p%40ss%3A@[::1]:7000/3");
    assert_eq!((one.addresses, one.database), (vec![address("::1", 7000)], 3));
    assert_eq!((one.username.as_deref(), one.password.expose()), (Some("toll"), "p@ss:"));
    assert_eq!(address("::1", 7000).to_string(), "[::1]:7000");

    let some = url("redis+sentinel://:pw@10.0.0.1,10.0.0.2:26380/toll-1/2");
    assert_eq!(some.form, RedisForm::Sentinel { master: "toll-1".to_owned() });
    assert_eq!(some.addresses, [address("10.0.0.1", 26379), address("10.0.0.2", 26380)]);
    assert_eq!((some.username, some.password.expose(), some.database), (None, "pw", 2));

    let many = url("redis+cluster://a:7000,b:7001,c:7002");
    assert_eq!((many.form, many.addresses.len()), (RedisForm::Cluster, 3));
}

#[test]
fn a_url_that_is_none_is_refused_by_its_wrong_part() {
    let wrong = [
        ("host:6379", "begins with none"),
        ("rediss://host", "TLS, which is not supported"),
        ("rediss+sentinel://host/toll", "TLS, which is not supported"),
        ("rediss+cluster://host", "TLS, which is not supported"),
        ("http://host", "begins with none"),
        ("redis://", "address 1 "),
        ("redis://a:0", "address 1 "),
        ("redis://a:65536", "address 1 "),
        ("redis://a:+1", "address 1 "),
        ("redis://::1", "address 1 "),
        ("redis://[::1", "address 1 "),
        ("redis://a b", "address 1 "),
        ("redis://a,b", "redis:// has one"),
        ("redis://a/x", "a database's number"),
        ("redis://a/99999999999", "a database's number"),
        ("redis+sentinel://a:1,b:x/m", "address 2 "),
        ("redis+sentinel://a", "the master's name stands there"),
        ("redis+cluster://a/1", "nothing stands there"),
        ("redis://u:%4@a", "no escape"),
        ("redis://u:%ff@a", "no escape"),
    ];
    for (text, part) in wrong {
        let error = RedisUrl::parse(text).unwrap_err();
        assert!(error.to_string().contains(part), "{text}: {error}");
    }
    let many = format!("redis+cluster://{}", vec!["a"; 17].join(","));
    assert!(matches!(RedisUrl::parse(&many), Err(RedisUrlError::Addresses { count: 17, .. })));
}

#[test]
fn redis_of_the_file_is_kept_as_a_secret_and_a_wrong_one_is_not_repeated() {
    let settings = good("[serial]\nredis = \"redis://:hunter2@host\"\n");
    assert_eq!(settings.serial.redis.expose(), "redis://:hunter2@host");
    assert!(settings.serial.standby.is_empty());
    let message = refused("[serial]\nstandby = \"rediss://:hunter2@host\"\n");
    assert!(
        message.contains(
            "serial.standby: the value is no URL of a Redis that can be used: rediss:// asks for TLS"
        ),
        "{message}"
    );
    assert!(message.contains("redis+sentinel://host:port,host:port/master"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}
