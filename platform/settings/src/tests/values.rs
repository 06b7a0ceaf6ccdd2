//! Values that are written in more than one way, and what they are read into.

use super::{good, refused};
use crate::quantity::{duration_text, parse_duration, parse_size, size_text};
use crate::{SerialFormat, SerialFormatError, SerialPart};
use proptest::prelude::*;
use std::time::Duration;

#[test]
fn sizes_are_read_with_and_without_a_unit() {
    let settings = good("[comm]\nbody_max = 65536\nlarge_body = \"2048\"\nreceive_buffer = \"8KiB\"\n");
    assert_eq!(settings.comm.body_max, 65_536);
    assert_eq!((settings.comm.large_body, settings.comm.receive_buffer), (2048, 8192));
    assert_eq!(parse_size("3GiB"), Some(3 << 30));
    assert_eq!(parse_size("512B"), Some(512));
}

#[test]
fn size_with_another_unit_a_sign_a_point_or_a_space_is_refused() {
    for text in [
        "",
        "KiB",
        "4KB",
        "4kib",
        "1.5MiB",
        "-1",
        "+1",
        "4 KiB",
        "99999999999999999999",
        "18446744073709551615GiB",
    ] {
        assert_eq!(parse_size(text), None, "{text}");
    }
}

#[test]
fn durations_are_read_in_every_unit() {
    let wanted = [
        ("7us", 7),
        ("300ms", 300_000),
        ("15s", 15_000_000),
        ("10m", 600_000_000),
        ("2h", 7_200_000_000),
        ("7d", 604_800_000_000),
    ];
    for (text, micros) in wanted {
        assert_eq!(parse_duration(text), Some(Duration::from_micros(micros)), "{text}");
    }
}

#[test]
fn duration_without_a_unit_or_with_another_one_is_refused() {
    for text in [
        "",
        "15",
        "0",
        "s",
        "1.5s",
        "15 s",
        "15sec",
        "-1s",
        "1m30s",
        "1w",
        "99999999999999999999s",
        "18446744073709551615d",
    ] {
        assert_eq!(parse_duration(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn size_that_is_printed_reads_back_as_itself(bytes: u64) {
        prop_assert_eq!(parse_size(&size_text(bytes)), Some(bytes));
    }

    #[test]
    fn duration_that_is_printed_reads_back_as_itself(micros: u64) {
        let duration = Duration::from_micros(micros);
        prop_assert_eq!(parse_duration(&duration_text(duration)), Some(duration));
    }

    #[test]
    fn quantity_of_any_text_is_refused_or_read_without_a_panic(text in "\\PC{0,24}") {
        let _ = (parse_size(&text), parse_duration(&text));
    }

    #[test]
    fn file_of_any_text_is_refused_or_read_without_a_panic(text in "(\\PC|\n){0,200}") {
        let _ = super::read(&text);
    }

    /// Known names with values of all types in any order: the way a person makes mistakes.
    #[test]
    fn file_of_known_names_with_any_values_is_refused_or_read_without_a_panic(
        lines in prop::collection::vec((0..crate::keys::ALL.len(), 0..VALUES.len()), 0..12)
    ) {
        let mut text = String::new();
        for (key, value) in lines {
            let key = crate::keys::ALL[key];
            let section = key.section().replace('*', "name");
            text.push_str(&format!("{section}.{} = {}\n", key.name(), VALUES[value]));
        }
        if let Err(error) = super::read(&text) {
            prop_assert!(error.to_string().lines().all(|line| line.contains("; ")), "{}", error);
        }
    }
}

const VALUES: [&str; 14] = [
    "0",
    "1",
    "-1",
    "4096",
    "99999999999999999999",
    "0.5",
    "nan",
    "true",
    "\"\"",
    "\"1s\"",
    "\"4KiB\"",
    "[]",
    "[{ size = 1024 }]",
    "{ a = 1 }",
];

#[test]
fn key_of_the_segments_is_read_in_hexadecimal() {
    assert_eq!(good("[ipc]\nkey = 0x4754_0001\n").ipc.key, Some(0x4754_0001));
}

#[test]
fn share_is_read_from_a_whole_number_too() {
    assert_eq!(good("[admission]\nread_share = 1\nreply_share = 0\n").admission.read_share, 1.0);
}

#[test]
fn sub_table_of_a_service_comes_out_as_json() {
    let settings = good(
        "[service.gantry_card]\nprefix = \"粤\"\nlimit = 0x10\nrate = 0.5\non = true\nsince = 2024-05-01T00:00:00Z\n\
         banks = [\"a\", \"b\"]\n[service.gantry_card.nested]\ndeep = 1\n",
    );
    let expected = concat!(
        r#"{"banks":["a","b"],"limit":16,"nested":{"deep":1},"on":true,"prefix":"粤","rate":0.5,"#,
        r#""since":"2024-05-01T00:00:00Z"}"#
    );
    assert_eq!(settings.service.configuration_json("gantry_card"), expected);
    assert_eq!(settings.service.configuration_json("gantry_tag"), "{}");
}

/// Services have a point in their name, which TOML takes for a section inside a section unless it is quoted.
#[test]
fn service_is_configured_by_its_name_in_quotes() {
    let settings = good("[service.\"card.recharge\"]\nmost = 5\n[service.card]\nmost = 6\n");
    assert_eq!(settings.service.configuration_json("card.recharge"), r#"{"most":5}"#);
    assert_eq!(settings.service.configuration_json("card"), r#"{"most":6}"#);
}

#[test]
fn type_of_serials_takes_its_own_range_and_format() {
    let settings = good(
        "[serial]\nrange = 50\n[serial.types.card]\nformat = \"C{date}-{seq:8}\"\n[serial.types.x]\nrange = 7\n",
    );
    let card = &settings.serial.types["card"];
    assert_eq!((card.range, card.format.render("20240501", 42)), (50, "C20240501-00000042".to_owned()));
    assert_eq!(card.format.sequence_max(), 99_999_999);
    assert_eq!(settings.serial.types["x"].range, 7);
    assert_eq!(settings.serial.types.len(), 6);
}

#[test]
fn serial_format_gives_its_parts_in_order() {
    let format = SerialFormat::parse("A{seq:3}{date}").unwrap();
    let parts = [SerialPart::Literal("A".to_owned()), SerialPart::Sequence { digits: 3 }, SerialPart::Date];
    assert_eq!(format.parts(), parts);
    assert_eq!(format.render("20240501", 1234), "A123420240501");
}

#[test]
fn serial_format_that_cannot_be_used_says_why() {
    use SerialFormatError::{Character, Digits, Sequences, TooLong, Unbalanced, UnknownPlaceholder};
    let wrong = [
        ("", Sequences { count: 0 }),
        ("{seq:4}{seq:4}", Sequences { count: 2 }),
        ("{seq:4", Unbalanced),
        ("a}{seq:4}", Unbalanced),
        ("{time}{seq:4}", UnknownPlaceholder { name: "time".to_owned() }),
        ("{seq:0}", Digits { digits: "0".to_owned() }),
        ("{seq:19}", Digits { digits: "19".to_owned() }),
        ("{seq:x}", Digits { digits: "x".to_owned() }),
        ("a b{seq:4}", Character { character: ' ' }),
        ("号{seq:4}", Character { character: '号' }),
    ];
    for (text, error) in wrong {
        assert_eq!(SerialFormat::parse(text), Err(error), "{text}");
    }
    let long = format!("{}{{seq:5}}", "x".repeat(60));
    assert_eq!(SerialFormat::parse(&long), Err(TooLong { bytes: 65 }));
}

#[test]
fn secrets_are_shown_neither_by_debug_nor_by_json() {
    let secret = crate::Secret::new("redis://:hunter2@host");
    assert_eq!(secret.expose(), "redis://:hunter2@host");
    assert!(!format!("{secret:?}").contains("hunter2"));
    assert_eq!(serde_json::to_string(&secret).unwrap(), "\"(hidden)\"");
    // Nor by a fault of the file.
    let message = refused(
        "[serial]\nredis = \"redis://:hunter2@\"\n[data.main]\ndriver = \"odbc\"\nconnection = \"Pwd=hunter2\"\n",
    );
    assert!(!message.contains("hunter2"), "{message}");
}
