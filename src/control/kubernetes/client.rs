//! Clients of API servers: of our own cluster, and of a Link's target by the kubeconfig of a Secret.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::watch;

use super::answer::Bounded;

/// TCP and TLS with an API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Without a byte on a connection: longer than a watch is silent (`super::watch::WATCH_TIMEOUT`). The
/// library's own 295 s would hide a server that takes a list's request and never answers.
const READ_TIMEOUT: Duration = Duration::from_secs(45);

/// How our own cluster's API server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// By the pod's service account.
    InCluster,
    /// By a kubeconfig file and its current context.
    Kubeconfig(PathBuf),
}

/// Between two looks at a kubeconfig.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

impl Access {
    /// A client of our own cluster, and the content of the kubeconfig that it was made of. A service
    /// account's token is read again by the client when it is renewed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn client(&self) -> Result<(Client, Option<Vec<u8>>), ClientError> {
        let content = self.content();
        Ok((own(self).await?, content))
    }

    fn content(&self) -> Option<Vec<u8>> {
        match self {
            Self::InCluster => None,
            Self::Kubeconfig(path) => std::fs::read(path).ok(),
        }
    }

    /// Completes when the kubeconfig is another one than `content`; one that is not there for a
    /// moment is none.
    pub async fn changed(&self, content: Option<Vec<u8>>) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let now = self.content();
            if now.is_some() && now != content {
                return;
            }
        }
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not in a pod, or without a service account's token.
    #[error(
        "no service account: {0}; set kubernetes.kubeconfig outside of a cluster, and \
         automountServiceAccountToken: true inside"
    )]
    InCluster(#[from] kube::config::InClusterError),
    /// The kubeconfig cannot be read or has no usable context.
    #[error("the kubeconfig is unusable: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// A Secret's kubeconfig wants something of this machine.
    #[error(
        "the kubeconfig names {0}, which one from a Secret may not: it must hold \
         certificate-authority-data and token (or client-certificate-data) itself"
    )]
    NotSelfContained(&'static str),
    /// A Secret's text is no kubeconfig. The library's error would quote what it found, which may be
    /// a token that was put there without its kubeconfig.
    #[error(
        "it is no kubeconfig: expected YAML with clusters, contexts, users and current-context, as \
         kubectl config view --raw prints it"
    )]
    NotKubeconfig,
    /// A token that no request could carry: the library would panic over it.
    #[error(
        "the token of the user {0:?} has characters that no HTTP header may have: is there an end of \
         line in it?"
    )]
    Token(String),
    /// The TLS parts are unusable.
    #[error("no client can be made: {0}")]
    Client(#[from] kube::Error),
}

/// A client of our own cluster. Its token is read again when it is renewed.
///
/// # Errors
/// [`ClientError`].
pub async fn own(access: &Access) -> Result<Client, ClientError> {
    let config = match access {
        Access::InCluster => Config::incluster()?,
        Access::Kubeconfig(path) => {
            let kubeconfig = Kubeconfig::read_from(path)?;
            tokens(&kubeconfig)?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?
        }
    };
    Ok(ClientBuilder::try_from(tuned(config))?.with_layer(&Bounded::OWN).build())
}

/// A client by a kubeconfig that came in a Secret. Whoever may write that Secret must not thereby run
/// programs here or read our files, so it may not name any.
///
/// # Errors
/// [`ClientError`].
pub async fn from_secret(kubeconfig: &str) -> Result<Client, ClientError> {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).map_err(|_| ClientError::NotKubeconfig)?;
    if let Some(what) = outside(&kubeconfig) {
        return Err(ClientError::NotSelfContained(what));
    }
    tokens(&kubeconfig)?;
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    Ok(ClientBuilder::try_from(tuned(config))?.with_layer(&Bounded::OTHERS).build())
}

/// Every token can be a header's value.
fn tokens(kubeconfig: &Kubeconfig) -> Result<(), ClientError> {
    // The library keeps tokens where only a serializer reads them.
    let users = serde_json::to_value(&kubeconfig.auth_infos).unwrap_or_default();
    for user in users.as_array().into_iter().flatten() {
        let token = user["user"]["token"].as_str().unwrap_or_default();
        if HeaderValue::from_str(token).is_err() {
            let name = user["name"].as_str().unwrap_or_default();
            return Err(ClientError::Token(name.to_owned()));
        }
    }
    Ok(())
}

/// What a kubeconfig takes from outside of itself.
fn outside(kubeconfig: &Kubeconfig) -> Option<&'static str> {
    let users = kubeconfig.auth_infos.iter().filter_map(|user| user.auth_info.as_ref());
    for user in users {
        let named = [
            (user.exec.is_some(), "a program (exec)"),
            (user.auth_provider.is_some(), "an auth-provider"),
            (user.token_file.is_some(), "a file (tokenFile)"),
            (user.client_certificate.is_some(), "a file (client-certificate)"),
            (user.client_key.is_some(), "a file (client-key)"),
        ];
        if let Some((_, what)) = named.into_iter().find(|(is_named, _)| *is_named) {
            return Some(what);
        }
    }
    let mut clusters = kubeconfig.clusters.iter().filter_map(|cluster| cluster.cluster.as_ref());
    clusters
        .any(|cluster| cluster.certificate_authority.is_some())
        .then_some("a file (certificate-authority)")
}

fn tuned(mut config: Config) -> Config {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    // A connection that has rested in the pool is given all of it.
    config.reset_reader_on_write = true;
    // Retries are decided where it is known what a call is for.
    config.default_retry = false;
    config
}

/// The same client, with the number of its requests that were answered with success: that a server
/// accepts connections does not mean that it lives.
pub fn counting(client: &Client) -> (Client, watch::Receiver<u64>) {
    let (answers, count) = watch::channel(0);
    let namespace = client.default_namespace().to_owned();
    let inner = client.clone();
    let service = tower::service_fn(move |request| {
        let (client, answers) = (inner.clone(), answers.clone());
        async move {
            let answer = client.send(request).await?;
            if answer.status().is_success() {
                answers.send_modify(|count| *count += 1);
            }
            Ok::<_, kube::Error>(answer)
        }
    });
    (Client::new(service, namespace), count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             contexts: [{{ name: c, context: {{ cluster: k, user: u }} }}]\n\
             clusters: [{{ name: k, cluster: {{ server: 'http://127.0.0.1:1' }} }}]\n\
             users: [{{ name: u, user: {user} }}]\n"
        )
    }

    #[tokio::test]
    async fn a_secret_cannot_make_us_run_a_program_or_read_a_file() {
        assert!(from_secret(&kubeconfig("{ token: t }")).await.is_ok());
        for user in [
            "{ exec: { apiVersion: client.authentication.k8s.io/v1, command: id } }",
            "{ tokenFile: /etc/passwd }",
            "{ client-certificate: /a, client-key: /b }",
            "{ auth-provider: { name: gcp, config: {} } }",
        ] {
            let error = from_secret(&kubeconfig(user)).await.err().expect("refused");
            assert!(matches!(error, ClientError::NotSelfContained(_)), "{user}: {error}");
        }
        let file =
            kubeconfig("{ token: t }").replace("server:", "certificate-authority: /a, server:");
        let error = from_secret(&file).await.err().expect("refused");
        assert!(matches!(error, ClientError::NotSelfContained(_)), "{error}");
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_kubeconfig_is_said_without_what_is_in_it() {
        const SECRET: &str = "eyJhbGciOiJSUzI1NiJ9";
        for text in [
            SECRET.to_owned(),
            format!("users: {SECRET}"),
            format!("users: [{{ name: u, user: {SECRET} }}]"),
            format!("{SECRET}: {{"),
            kubeconfig(&format!(
                "{{ client-key-data: '{SECRET}!' , client-certificate-data: 'x' }}"
            )),
            kubeconfig(&format!("{{ token: \"{SECRET}\\n\\u0001\" }}")),
            kubeconfig(&format!("{{ token: [{SECRET}] }}")),
        ] {
            let Err(error) = from_secret(&text).await else { continue };
            let said = crate::control::kubernetes::watch::chain(&error);
            assert!(!said.contains(SECRET), "{text}: {said}");
            assert!(!format!("{error:?}").contains(SECRET), "{text}: {error:?}");
        }
    }

    #[tokio::test]
    async fn a_token_with_an_end_of_line_is_refused_and_no_panic() {
        let error = from_secret(&kubeconfig("{ token: \"t\\n\" }")).await.err().expect("refused");
        assert!(matches!(error, ClientError::Token(_)), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_kubeconfig_is_refused() {
        for text in ["", "{", "kind: Config", "contexts: 7"] {
            assert!(from_secret(text).await.is_err(), "{text:?}");
        }
    }
}
