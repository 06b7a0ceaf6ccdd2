//! Random headers and frames that are right, for the properties.

use gantry_frame::{BODY_BYTES_MAX_CEILING, BUDGET_MS_MAX, FrameType, Header, STATUS_CODE_MAX};
use gantry_message::{RequestId, ServiceNumber};
use proptest::prelude::*;

/// Any request id.
pub(crate) fn request_ids() -> impl Strategy<Value = RequestId> {
    proptest::array::uniform24(0x21..=0x7E_u8)
        .prop_map(|bytes| RequestId::new(bytes).expect("the bytes are printable"))
}

/// Any service number, the platform's own included.
pub(crate) fn service_numbers() -> impl Strategy<Value = ServiceNumber> {
    (0..=ServiceNumber::MAX.get())
        .prop_map(|number| ServiceNumber::new(number).expect("the number has 8 digits"))
}

/// Any header that has a form on the wire; `Some(0)` has none of its own, so it does not occur.
pub(crate) fn headers(frame_type: FrameType) -> impl Strategy<Value = Header> {
    let status_code_max = if frame_type == FrameType::Request { 0 } else { STATUS_CODE_MAX };
    (
        0..=BODY_BYTES_MAX_CEILING,
        service_numbers(),
        0..=status_code_max,
        0..=BUDGET_MS_MAX,
        request_ids(),
        proptest::option::of(1..=u32::MAX),
    )
        .prop_map(move |(body_bytes, service, status_code, budget_ms, request_id, checksum)| Header {
            body_bytes,
            service,
            frame_type,
            status_code,
            budget_ms,
            request_id,
            checksum,
        })
}
