//! Whether an answer is a failure, as Linkerd's default classification has it.
//!
//! Asked once per request by metrics and access log, so that both mean the same by "failure".

/// The `grpc-status` codes that are failures: of the server, not of what the client asked for.
/// UNKNOWN, DEADLINE_EXCEEDED, PERMISSION_DENIED, INTERNAL, UNAVAILABLE, DATA_LOSS; the third one
/// is debatable, but Linkerd has it (linkerd2#12826), and success rates must be comparable.
const GRPC_FAILURES: [u16; 6] = [2, 4, 7, 13, 14, 15];

/// True for an HTTP status from 500 on and for the codes of gRPC that are failures; a gRPC answer
/// has status 200 whatever became of it.
pub fn is_failure(status: u16, grpc_status: Option<u16>) -> bool {
    status >= 500 || grpc_status.is_some_and(|code| GRPC_FAILURES.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_fails_from_500_on() {
        for (status, failure) in
            [(200, false), (404, false), (499, false), (500, true), (599, true)]
        {
            assert_eq!(is_failure(status, None), failure, "{status}");
        }
    }

    #[test]
    fn grpc_fails_by_its_code_and_by_an_http_status() {
        let failures: Vec<u16> = (0..=20).filter(|code| is_failure(200, Some(*code))).collect();
        assert_eq!(failures, GRPC_FAILURES);
        assert!(is_failure(503, Some(0)));
    }
}
