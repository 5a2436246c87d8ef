//! TLS profiles: what a stream's TLS options mean, as one shared configuration per distinct profile.
//!
//! A configuration holds some hundred certificates of the system, so all streams with the same options share one.
//! The cache is bounded and notices changed files by their modification times; system roots are read anew after an
//! hour. Building one reads files and takes milliseconds: it runs where it may block, never on a worker.
//! The lock is held for a look-up only.
//!
//! rustls with ring; no process-wide provider is installed or needed. TLS 1.2 and 1.3.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::error::TlsSetupError;
use crate::blocking::{Blocking, Kind};

/// Whose signature under the server's certificate is believed.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Trust {
    /// The authorities the operating system trusts.
    #[default]
    System,
    /// The authorities in this PEM file, and no others.
    File(PathBuf),
    /// Anybody's: the server is not verified at all.
    Anything,
}

impl Trust {
    /// Reads `system` (or nothing), `none`, or the path of a file. The words may be in capitals.
    pub fn read(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "" | "system" => Self::System,
            "none" => Self::Anything,
            _ => Self::File(text.into()),
        }
    }
}

/// The TLS options of a stream.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TlsOptions {
    /// Who vouches for the server.
    pub trust: Trust,
    /// PEM file with our certificate and its chain, for servers that ask for one.
    pub cert_file: Option<PathBuf>,
    /// PEM file with its private key.
    pub key_file: Option<PathBuf>,
    /// Whether the certificate must be for the name connected to. Without it the chain is still verified.
    pub verify_hostname: bool,
}

impl Default for TlsOptions {
    /// Everything verified against the system's authorities, no client certificate.
    fn default() -> Self {
        Self { trust: Trust::System, cert_file: None, key_file: None, verify_hostname: true }
    }
}

/// The cache of configurations. Cheap to clone; all clones are one cache.
#[derive(Clone, Debug, Default)]
pub struct TlsProfiles {
    blocking: Blocking,
    cache: Arc<Mutex<Vec<Cached>>>,
}

#[derive(Debug)]
struct Cached {
    options: TlsOptions,
    files: FileTimes,
    built: Instant,
    config: Arc<ClientConfig>,
}

/// Modification times of CA, certificate and key file, `None` where there is no such file.
type FileTimes = [Option<SystemTime>; 3];

impl TlsProfiles {
    /// Most profiles kept; the one unused for longest goes first.
    const MOST: usize = 32;
    /// After this time the system's authorities are read again.
    const SYSTEM_ROOTS_AGE: Duration = Duration::from_secs(3_600);

    /// An empty cache; files are read with `blocking`.
    pub fn new(blocking: Blocking) -> Self {
        Self { blocking, cache: Arc::default() }
    }

    /// The configuration for `options`, from the cache or built from its files where that may block.
    ///
    /// Errors name the file and what is wrong with it; they are not cached, so a corrected file is found at once.
    pub async fn get(&self, options: &TlsOptions) -> Result<Arc<ClientConfig>, TlsSetupError> {
        let (profiles, options) = (self.clone(), options.clone());
        let got = self.blocking.run(Kind::Certificates, move || profiles.get_blocking(&options)).await;
        got.unwrap_or_else(|error| Err(TlsSetupError::Refused(error.to_string())))
    }

    fn get_blocking(&self, options: &TlsOptions) -> Result<Arc<ClientConfig>, TlsSetupError> {
        let files = file_times(options);
        {
            let mut cache = self.cache.lock();
            if let Some(at) = cache.iter().position(|cached| cached.options == *options) {
                let cached = cache.remove(at);
                let aged = options.trust == Trust::System && cached.built.elapsed() > Self::SYSTEM_ROOTS_AGE;
                if cached.files == files && !aged {
                    let config = Arc::clone(&cached.config);
                    cache.push(cached);
                    return Ok(config);
                }
            }
        }
        let config = Arc::new(build(options)?);
        let mut cache = self.cache.lock();
        cache.retain(|cached| cached.options != *options);
        if cache.len() >= Self::MOST {
            cache.remove(0);
        }
        cache.push(Cached { options: options.clone(), files, built: Instant::now(), config: Arc::clone(&config) });
        Ok(config)
    }
}

fn file_times(options: &TlsOptions) -> FileTimes {
    let time =
        |path: Option<&Path>| path.and_then(|path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok());
    let ca = if let Trust::File(path) = &options.trust { Some(path.as_path()) } else { None };
    [time(ca), time(options.cert_file.as_deref()), time(options.key_file.as_deref())]
}

fn build(options: &TlsOptions) -> Result<ClientConfig, TlsSetupError> {
    let refused = |error: Error| TlsSetupError::Refused(error.to_string());
    let provider = Arc::new(ring::default_provider());
    let chain: Arc<dyn ServerCertVerifier> = match &options.trust {
        Trust::System => Arc::new(rustls_platform_verifier::Verifier::new(Arc::clone(&provider)).map_err(refused)?),
        Trust::File(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("CA file", path)? {
                roots.add(certificate).map_err(|error| {
                    TlsSetupError::Refused(format!("{} has an unusable certificate: {error}", path.display()))
                })?;
            }
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| TlsSetupError::Refused(error.to_string()))?
        }
        Trust::Anything => Arc::new(TrustAnything(Arc::clone(&provider))),
    };
    let verifier: Arc<dyn ServerCertVerifier> =
        if options.verify_hostname || options.trust == Trust::Anything { chain } else { Arc::new(AnyName(chain)) };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match (&options.cert_file, &options.key_file) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => builder
            .with_client_auth_cert(certificates("client certificate", cert)?, private_key(key)?)
            .map_err(refused)?,
        _ => return Err(TlsSetupError::HalfIdentity),
    };
    // A server that also speaks HTTP/2 must not choose it: the upgrade is an HTTP/1.1 request.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(what, path, &error))?;
    if certificates.is_empty() {
        return Err(TlsSetupError::Empty { what: "certificate", path: path.to_owned() });
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsSetupError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsSetupError::Empty { what: "private key", path: path.to_owned() },
        error => unreadable("private key", path, &error),
    })
}

fn unreadable(what: &'static str, path: &Path, error: &pem::Error) -> TlsSetupError {
    TlsSetupError::Read { what, path: path.to_owned(), error: error.to_string() }
}

/// Verifies chain, time and signatures, but takes a certificate for any name.
#[derive(Debug)]
struct AnyName(Arc<dyn ServerCertVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // rustls looks at the name last, when everything else was found right (a test holds it to that).
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Takes any certificate; only that the server has its key is verified.
#[derive(Debug)]
struct TrustAnything(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Why a TLS handshake failed, with what an operator can do about it.
pub(super) fn explain(error: &Error) -> String {
    let hint = match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "; nobody trusted has signed the server's certificate: name its authority with tls_ca (for speech synthesis: tts_ca_file)"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "; the server's certificate is for another name: connect to that name, or switch the check off",
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "; renew the server's certificate, and check the clock of this machine"
        }
        Error::InvalidMessage(_) => "; the server does not seem to speak TLS on this port",
        Error::AlertReceived(_) => "; the server refused us: does it want a client certificate?",
        _ => "",
    };
    format!("{error}{hint}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::fs;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("mod_audio_stream_tls_{}_{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn certificate() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn equal_profiles_share_one_configuration_until_a_file_changes() {
        let folder = folder("share");
        let ca = folder.join("ca.pem");
        fs::write(&ca, certificate().0).unwrap();
        let profiles = TlsProfiles::default();
        let options = TlsOptions { trust: Trust::File(ca.clone()), ..TlsOptions::default() };
        let first = profiles.get_blocking(&options).unwrap();
        assert!(Arc::ptr_eq(&first, &profiles.clone().get_blocking(&options).unwrap()));
        let other = TlsOptions { verify_hostname: false, ..options.clone() };
        assert!(!Arc::ptr_eq(&first, &profiles.get_blocking(&other).unwrap()));
        let file = fs::File::options().write(true).open(&ca).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(7)).unwrap();
        assert!(!Arc::ptr_eq(&first, &profiles.get_blocking(&options).unwrap()), "a changed file is read again");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_words_of_trust_are_read_in_capitals_or_not() {
        for text in ["", "system", "SYSTEM"] {
            assert_eq!(Trust::read(text), Trust::System);
        }
        for text in ["none", "None", "NONE"] {
            assert_eq!(Trust::read(text), Trust::Anything);
        }
        assert_eq!(Trust::read("/Ca.pem"), Trust::File("/Ca.pem".into()));
    }

    #[test]
    fn the_cache_is_bounded_and_drops_the_least_used() {
        let folder = folder("bounded");
        let pem = certificate().0;
        let profiles = TlsProfiles::default();
        let options = |n: usize| {
            let path = folder.join(format!("{n}.pem"));
            fs::write(&path, &pem).unwrap();
            TlsOptions { trust: Trust::File(path), ..TlsOptions::default() }
        };
        let used = options(0);
        for n in 1..100 {
            profiles.get_blocking(&used).unwrap();
            profiles.get_blocking(&options(n)).unwrap();
        }
        let cache = profiles.cache.lock();
        assert_eq!(cache.len(), TlsProfiles::MOST);
        assert!(cache.iter().any(|cached| cached.options == used));
        drop(cache);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn unusable_files_are_named() {
        let folder = folder("unusable");
        let (cert, key) = certificate();
        let (empty, cert_path, key_path) = (folder.join("empty"), folder.join("cert"), folder.join("key"));
        fs::write(&empty, "nothing here").unwrap();
        fs::write(&cert_path, cert).unwrap();
        fs::write(&key_path, key).unwrap();
        let other_key = folder.join("other");
        fs::write(&other_key, certificate().1).unwrap();
        let build = |trust: Trust, cert: Option<&Path>, key: Option<&Path>| {
            build(&TlsOptions {
                trust,
                cert_file: cert.map(Path::to_owned),
                key_file: key.map(Path::to_owned),
                verify_hostname: true,
            })
        };
        let missing = folder.join("missing");
        assert!(matches!(build(Trust::File(missing), None, None), Err(TlsSetupError::Read { .. })));
        assert!(matches!(build(Trust::File(empty.clone()), None, None), Err(TlsSetupError::Empty { .. })));
        let anything = || Trust::Anything;
        assert_eq!(build(anything(), Some(&cert_path), None).err(), Some(TlsSetupError::HalfIdentity));
        assert!(matches!(build(anything(), Some(&cert_path), Some(&empty)), Err(TlsSetupError::Empty { .. })));
        assert!(matches!(build(anything(), Some(&cert_path), Some(&other_key)), Err(TlsSetupError::Refused(_))));
        assert!(build(anything(), Some(&cert_path), Some(&key_path)).is_ok());
        let text = build(Trust::File(empty), None, None).err().map(|error| error.to_string()).unwrap();
        assert!(text.contains("empty") && text.contains("certificate"), "{text}");
        fs::remove_dir_all(folder).unwrap();
    }
}
