//! Where an object store is, and how it is spoken to.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::multipart::MultipartStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use crate::profile::Profile;
use crate::{Bucket, ObjectsError};

/// How long opening a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(20);

/// The address of an object store: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, `file:///folder`.
#[derive(Clone, PartialEq, Eq)]
pub struct Location {
    kind: Kind,
    bucket: String,
    prefix: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    S3,
    Google,
    Azure,
    Folder,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            Kind::S3 => "s3",
            Kind::Google => "gs",
            Kind::Azure => "az",
            Kind::Folder => return write!(f, "file:///{}", self.prefix),
        };
        write!(f, "{scheme}://{}", self.bucket)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Keys that are named outright; they win over every other source.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// S3: the access key's id. Azure: the account's name.
    pub id: String,
    /// S3: the secret access key. Azure: the account's key. Google: a service account's key, as JSON.
    pub secret: String,
    /// S3: a session's token.
    pub token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What may be said about an object store beside its address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// The server, where it is not the provider's own: `http://127.0.0.1:9000`.
    pub endpoint: Option<String>,
    /// S3's region; without it the environment's, the profile's, `us-east-1`.
    pub region: Option<String>,
    /// S3: the bucket stands in the path (`true`), or before the host's name. Without it: in the path where there is an
    /// endpoint.
    pub path_style: Option<bool>,
    /// Keys; without them the environment, the shared profile, a web identity, the machine's own, in this order.
    pub credentials: Option<Credentials>,
}

impl Location {
    /// Reads an address.
    ///
    /// # Errors
    /// [`ObjectsError::Settings`] where it is none.
    pub fn parse(text: &str) -> Result<Self, ObjectsError> {
        let wrong = |why: &str| {
            let forms = "s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or file:///folder";
            ObjectsError::Settings(format!("{text:?} is no address of an object store: {why}; it looks like {forms}"))
        };
        let Some((scheme, rest)) = text.split_once("://") else { return Err(wrong("it has no scheme")) };
        let kind = match scheme {
            "s3" | "s3a" => Kind::S3,
            "gs" => Kind::Google,
            "az" | "azure" | "abfs" | "abfss" => Kind::Azure,
            "file" => Kind::Folder,
            other => return Err(wrong(&format!("the scheme {other:?} is not known"))),
        };
        if rest.contains(['?', '#']) || rest.contains(|c: char| c.is_control()) {
            return Err(wrong("it has a query or characters that are none"));
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        match kind {
            Kind::Folder if !bucket.is_empty() => return Err(wrong("a folder needs three slashes")),
            Kind::Folder if prefix.trim_matches('/').is_empty() => return Err(wrong("the folder is missing")),
            Kind::Folder => {}
            _ if bucket.is_empty() => return Err(wrong("the bucket is missing")),
            _ if bucket.contains('@') => return Err(wrong("credentials do not belong into it")),
            _ => {}
        }
        let parts: Vec<&str> = prefix.split('/').filter(|p| !p.is_empty()).collect();
        if parts.iter().any(|p| matches!(*p, "." | "..")) {
            return Err(wrong("it has . or .. in it"));
        }
        Ok(Self { kind, bucket: bucket.to_owned(), prefix: parts.join("/") })
    }

    /// The same store, `below` that prefix.
    #[must_use]
    pub fn join(&self, below: &str) -> Self {
        let mut other = self.clone();
        other.prefix = if self.prefix.is_empty() { below.to_owned() } else { format!("{}/{below}", self.prefix) };
        other
    }

    /// Gets ready to speak to it; nothing is sent yet.
    ///
    /// # Errors
    /// [`ObjectsError::Settings`] where the settings do not fit; [`ObjectsError::File`] where a folder cannot be made.
    pub fn connect(&self, settings: &Settings) -> Result<Arc<Bucket>, ObjectsError> {
        let wrong = |e: object_store::Error| ObjectsError::Settings(format!("{self}: {e}"));
        let mut prefix = self.prefix.clone();
        let plain = settings.endpoint.as_ref().is_some_and(|e| e.starts_with("http://"));
        let client = ClientOptions::new()
            .with_connect_timeout(CONNECT)
            .with_read_timeout(SILENCE)
            .with_timeout_disabled()
            .with_allow_http(plain);
        // Retried here, where it is counted.
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let (store, parts): (Arc<dyn ObjectStore>, Option<Arc<dyn MultipartStore>>) = match self.kind {
            Kind::S3 => {
                let s3 = Arc::new(self.s3(settings).with_client_options(client).with_retry(retry).build().map_err(wrong)?);
                (Arc::clone(&s3) as _, Some(s3))
            }
            Kind::Google => {
                let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(&self.bucket);
                if let Some(endpoint) = &settings.endpoint {
                    builder = builder.with_config(GoogleConfigKey::BaseUrl, endpoint);
                }
                if let Some(keys) = &settings.credentials {
                    builder = builder.with_service_account_key(&keys.secret);
                }
                let google = Arc::new(builder.with_client_options(client).with_retry(retry).build().map_err(wrong)?);
                (Arc::clone(&google) as _, Some(google))
            }
            Kind::Azure => {
                let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(&self.bucket);
                if let Some(endpoint) = &settings.endpoint {
                    builder = builder.with_config(AzureConfigKey::Endpoint, endpoint).with_allow_http(plain);
                }
                if let Some(keys) = &settings.credentials {
                    builder = builder.with_account(&keys.id).with_access_key(&keys.secret);
                }
                let azure = Arc::new(builder.with_client_options(client).with_retry(retry).build().map_err(wrong)?);
                (Arc::clone(&azure) as _, Some(azure))
            }
            Kind::Folder => {
                let folder = PathBuf::from(format!("/{}", self.prefix));
                prefix = String::new();
                let failed = |e: std::io::Error| ObjectsError::File { what: format!("making {self}"), why: e.to_string() };
                std::fs::create_dir_all(&folder).map_err(failed)?;
                (Arc::new(LocalFileSystem::new_with_prefix(&folder).map_err(wrong)?.with_fsync(true)), None)
            }
        };
        Bucket::new(store, parts, &prefix, self.to_string()).map(Arc::new)
    }

    /// S3's settings: what is said outright, then the environment, then the shared profile; the rest is `object_store`'s.
    fn s3(&self, settings: &Settings) -> AmazonS3Builder {
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(&self.bucket);
        let said = |b: &AmazonS3Builder, key: AmazonS3ConfigKey| b.get_config_value(&key).is_some();
        let profile = Profile::of_environment(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
        let endpoint = settings.endpoint.clone().or_else(|| std::env::var("AWS_ENDPOINT_URL").ok());
        if let Some(endpoint) = &endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/')).with_allow_http(endpoint.starts_with("http://"));
        }
        // The name that AWS' own tools read; `object_store` knows another one.
        if let Ok(machine) = std::env::var("AWS_EC2_METADATA_SERVICE_ENDPOINT")
            && !said(&builder, AmazonS3ConfigKey::MetadataEndpoint)
        {
            builder = builder.with_metadata_endpoint(machine.trim_end_matches('/'));
        }
        match (&settings.region, profile.region) {
            (Some(region), _) => builder = builder.with_region(region),
            (None, Some(region))
                if !said(&builder, AmazonS3ConfigKey::Region) && !said(&builder, AmazonS3ConfigKey::DefaultRegion) =>
            {
                builder = builder.with_region(region);
            }
            _ => {}
        }
        builder = builder.with_virtual_hosted_style_request(!settings.path_style.unwrap_or(endpoint.is_some()));
        if let Some(keys) = &settings.credentials {
            // A session's token in the environment belongs to other keys.
            let token = keys.token.clone().unwrap_or_default();
            builder = builder.with_access_key_id(&keys.id).with_secret_access_key(&keys.secret);
            builder = if token.is_empty() { without_token(builder) } else { builder.with_token(token) };
        } else if !said(&builder, AmazonS3ConfigKey::AccessKeyId)
            && let (Some(id), Some(secret)) = (profile.access_key_id, profile.secret_access_key)
        {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret);
            if let Some(token) = profile.session_token {
                builder = builder.with_token(token);
            }
        } else if !said(&builder, AmazonS3ConfigKey::AccessKeyId) && is_without_machine(|name| std::env::var(name).ok()) {
            builder = builder.with_credentials(Arc::new(NoCredentials));
        }
        builder
    }
}

/// Whether the machine's metadata service is not to be asked, as AWS' own tools are told, and nothing else gives credentials.
fn is_without_machine(variable: impl Fn(&str) -> Option<String>) -> bool {
    let others = ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];
    variable("AWS_EC2_METADATA_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"))
        && others.iter().all(|name| variable(name).is_none_or(|v| v.is_empty()))
}

/// Says that there are no credentials, at once.
#[derive(Debug)]
struct NoCredentials;

type Asked<'a, T> = std::pin::Pin<Box<dyn Future<Output = object_store::Result<Arc<T>>> + Send + 'a>>;

impl object_store::CredentialProvider for NoCredentials {
    type Credential = object_store::aws::AwsCredential;

    fn get_credential<'s, 'a>(&'s self) -> Asked<'a, Self::Credential>
    where
        's: 'a,
        Self: 'a,
    {
        let source = "no credentials: none in the configuration, the environment or the shared profile, and \
                      AWS_EC2_METADATA_DISABLED keeps the machine's metadata service from being asked";
        let error = object_store::Error::Unauthenticated { path: String::new(), source: source.into() };
        Box::pin(std::future::ready(Err(error)))
    }
}

/// `object_store` has no way to take a token back but an empty one, which it would send.
fn without_token(builder: AmazonS3Builder) -> AmazonS3Builder {
    let keys = [AmazonS3ConfigKey::AccessKeyId, AmazonS3ConfigKey::SecretAccessKey].map(|k| builder.get_config_value(&k));
    match (builder.get_config_value(&AmazonS3ConfigKey::Token), keys) {
        (Some(_), [Some(id), Some(secret)]) => {
            let credential = object_store::aws::AwsCredential { key_id: id, secret_key: secret, token: None };
            builder.with_credentials(Arc::new(object_store::StaticCredentialProvider::new(credential)))
        }
        _ => builder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, back) in [
            ("s3://b", "s3://b"),
            ("s3://b/", "s3://b"),
            ("s3a://b/a//c/", "s3://b/a/c"),
            ("gs://b/x", "gs://b/x"),
            ("az://c/x", "az://c/x"),
            ("file:///var/lib/x", "file:///var/lib/x"),
        ] {
            assert_eq!(Location::parse(text).expect(text).to_string(), back);
        }
        for bad in [
            "",
            "b",
            "s3:/b",
            "s3://",
            "s3:///x",
            "http://b/x",
            "file://x",
            "file:///",
            "s3://b/../c",
            "s3://k:s@b",
            "s3://b?x=1",
        ] {
            let error = Location::parse(bad).expect_err(bad).to_string();
            assert!(error.contains("s3://bucket/prefix"), "{error}");
        }
        assert_eq!(Location::parse("s3://b").expect("one").join("x").to_string(), "s3://b/x");
    }

    #[test]
    fn the_machine_is_not_asked_for_keys_where_that_is_forbidden() {
        let forbidden = |more: &'static str| {
            is_without_machine(move |name| (name == "AWS_EC2_METADATA_DISABLED" || name == more).then(|| "true".to_owned()))
        };
        assert!(forbidden(""));
        assert!(!forbidden("AWS_WEB_IDENTITY_TOKEN_FILE"), "there is another way");
        assert!(!is_without_machine(|_| None));
        let mut asked = object_store::CredentialProvider::get_credential(&NoCredentials);
        let told = asked.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        let std::task::Poll::Ready(Err(error)) = told else { panic!("told at once") };
        assert!(matches!(&error, object_store::Error::Unauthenticated { .. }), "{error}");
        assert!(error.to_string().contains("no credentials: none in the configuration"), "{error}");
    }

    #[test]
    fn keys_are_not_shown() {
        let keys = Credentials { id: "me".into(), secret: "hush".into(), token: Some("hush".into()) };
        let shown = format!("{:?}", Settings { credentials: Some(keys), ..Settings::default() });
        assert!(shown.contains("me") && !shown.contains("hush"), "{shown}");
    }
}
