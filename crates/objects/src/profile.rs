//! AWS' shared profile files: `~/.aws/credentials` and `~/.aws/config`, which `object_store` does not read.
//!
//! As the AWS SDKs do: `AWS_SHARED_CREDENTIALS_FILE` and `AWS_CONFIG_FILE` name other files, `AWS_PROFILE` another profile
//! than `default`; a section of the configuration file is called `profile NAME`, but for the default one.
//! <https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>

use std::path::{Path, PathBuf};

/// What a profile says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) access_key_id: Option<String>,
    pub(crate) secret_access_key: Option<String>,
    pub(crate) session_token: Option<String>,
    pub(crate) region: Option<String>,
}

/// A file larger than this is not one.
const LARGEST: u64 = 1 << 20;

impl Profile {
    /// The profile that the environment names; nothing where there is none.
    pub(crate) fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let home = variable("HOME").map(PathBuf::from);
        let file = |named: &str, customary: &str| {
            variable(named).map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(".aws").join(customary)))
        };
        let name = variable("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
        let mut profile = Self::default();
        if let Some(text) = file("AWS_CONFIG_FILE", "config").as_deref().and_then(read) {
            let section = if name == "default" { name.clone() } else { format!("profile {name}") };
            profile.take(&text, &section);
        }
        // The credentials file wins over the other.
        if let Some(text) = file("AWS_SHARED_CREDENTIALS_FILE", "credentials").as_deref().and_then(read) {
            profile.take(&text, &name);
        }
        profile
    }

    fn take(&mut self, text: &str, wanted: &str) {
        let mut inside = false;
        for line in text.lines() {
            if let Some(section) = line.trim().strip_prefix('[').and_then(|l| l.split(']').next()) {
                inside = section.split_whitespace().eq(wanted.split_whitespace());
                continue;
            }
            // Indented lines belong to a nested setting, `#` and `;` begin a comment.
            if !inside || line.starts_with([' ', '\t', '#', ';']) {
                continue;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let value = Some(value.trim().to_owned()).filter(|v| !v.is_empty());
            match key.trim() {
                "aws_access_key_id" => self.access_key_id = value,
                "aws_secret_access_key" => self.secret_access_key = value,
                "aws_session_token" => self.session_token = value,
                "region" => self.region = value,
                _ => {}
            }
        }
    }
}

fn read(path: &Path) -> Option<String> {
    if std::fs::metadata(path).ok()?.len() > LARGEST {
        return None;
    }
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_profile_of_both_files_counts() {
        let dir = tempfile::tempdir().expect("a directory");
        let (credentials, config) = (dir.path().join("credentials"), dir.path().join("config"));
        let text = "# mine\n[default]\naws_access_key_id = A\naws_secret_access_key=B\n\n[ work ]\naws_access_key_id=C\n\
                    aws_secret_access_key = D=\naws_session_token=E\n";
        std::fs::write(&credentials, text).expect("written");
        let text = "[default]\nregion = eu-west-1\ns3 =\n  region = nested\n[profile work]\nregion=eu-north-1\n";
        std::fs::write(&config, text).expect("written");
        let ask = |profile: Option<&str>| {
            Profile::of_environment(|name| match name {
                "AWS_SHARED_CREDENTIALS_FILE" => Some(credentials.display().to_string()),
                "AWS_CONFIG_FILE" => Some(config.display().to_string()),
                "AWS_PROFILE" => profile.map(str::to_owned),
                _ => None,
            })
        };
        let some = |t: &str| Some(t.to_owned());
        let default =
            Profile { access_key_id: some("A"), secret_access_key: some("B"), session_token: None, region: some("eu-west-1") };
        assert_eq!(ask(None), default);
        let work = Profile {
            access_key_id: some("C"),
            secret_access_key: some("D="),
            session_token: some("E"),
            region: some("eu-north-1"),
        };
        assert_eq!(ask(Some("work")), work);
        assert_eq!(ask(Some("absent")), Profile::default());
    }

    #[test]
    fn without_files_there_is_no_profile() {
        assert_eq!(Profile::of_environment(|_| None), Profile::default());
    }
}
