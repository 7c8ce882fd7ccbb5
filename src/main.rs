//! The `linkerd-gateway` binary: allocator, arguments, exit code. Everything else is the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    linkerd_gateway::cli::main()
}
