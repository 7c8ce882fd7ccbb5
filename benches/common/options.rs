//! The command line that all comparisons have.

use std::path::PathBuf;

/// Who is compared in what, and where the results go.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// One short round instead of three: about a minute, good for a look.
    #[arg(long)]
    pub quick: bool,
    /// Rounds; the table has their medians [default: 3].
    #[arg(long, value_name = "N")]
    pub rounds: Option<usize>,
    /// A further peer: NAME=COMMAND, where {listen}, {backend} and {certs} are filled in.
    #[arg(long = "peer", value_name = "NAME=COMMAND")]
    pub peers: Vec<String>,
    /// Only these measures, by name.
    #[arg(long = "measure", value_name = "NAME")]
    pub measures: Vec<String>,
    /// Only peers whose name contains this; ours is always there.
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Our binary [default: the one built with this program].
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_linkerd-gateway"))]
    pub gateway: PathBuf,
    /// Where results go, without extension [default: in benches/results].
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// How many rounds.
    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// Whether a peer of this name takes part.
    pub fn takes(&self, peer: &str) -> bool {
        self.only.as_ref().is_none_or(|only| peer.contains(only))
    }

    /// Where results go: `name`, and for the quick form a file that is not kept.
    pub fn out(&self, name: &str) -> PathBuf {
        let name = if self.quick { format!("quick-{name}") } else { name.to_owned() };
        let default =
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/results").join(name);
        self.out.clone().unwrap_or_else(default)
    }
}
