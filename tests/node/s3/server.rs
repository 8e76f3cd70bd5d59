//! A real S3 server on loopback: moto, with its keys and policies.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use godb_tests::node::godb_command;

/// The bucket that every server has.
pub const BUCKET: &str = "backup";

/// The keys of a user.
#[derive(Clone, Debug)]
pub struct Keys {
    pub access: String,
    pub secret: String,
}

pub struct Server {
    child: Child,
    port: u16,
    scheme: &'static str,
    pub keys: Keys,
    pub ca_file: Option<PathBuf>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"),
        PathBuf::from,
    );
    std::env::split_paths(&path)
        .chain([cache.join("godb/tools/bin")])
        .map(|dir| dir.join("moto_server"))
        .find(|program| program.is_file())
        .expect("moto_server is needed: `make test PARTS=tests` installs it from PyPI")
}

impl Server {
    /// Over plain HTTP, with a bucket.
    pub fn start() -> Self {
        let server = Self::spawn("http", &[], None);
        assert_eq!(server.raw("PUT", &format!("/{BUCKET}"), b"").0, 200);
        server
    }

    /// Over TLS, with a certificate of its own; without a bucket.
    pub fn start_tls(dir: &std::path::Path) -> Self {
        let (key, certificate) = (dir.join("key.pem"), dir.join("cert.pem"));
        let python = std::fs::canonicalize(program())
            .unwrap()
            .with_file_name("python3");
        let made = Command::new(python)
            .args(["-c", CERTIFICATE])
            .args([&key, &certificate])
            .status();
        assert!(made.unwrap().success());
        let arguments = [
            "-c".to_owned(),
            certificate.to_str().unwrap().to_owned(),
            "-k".to_owned(),
            key.to_str().unwrap().to_owned(),
        ];
        Self::spawn("https", &arguments, Some(certificate))
    }

    fn spawn(scheme: &'static str, arguments: &[String], ca_file: Option<PathBuf>) -> Self {
        let port = free_port();
        let child = Command::new(program())
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "no S3 server");
            std::thread::sleep(Duration::from_millis(50));
        }
        let keys = Keys {
            access: "any".to_owned(),
            secret: "thing".to_owned(),
        };
        Self {
            child,
            port,
            scheme,
            keys,
            ca_file,
        }
    }

    pub fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// From now on only those may who have keys, and nobody has.
    pub fn ask_for_keys(&self) {
        let request = "POST /moto-api/reset-auth HTTP/1.1\r\nContent-Type: text/plain\r\n";
        assert_eq!(self.exchange(request, b"0").0, 200);
    }

    /// From now on nobody may write in the bucket.
    pub fn make_read_only(&self) {
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Deny","Principal":"*","Action":["s3:PutObject","s3:DeleteObject"],"Resource":"arn:aws:s3:::{BUCKET}/*"}}]}}"#
        );
        let (status, _) = self.raw("PUT", &format!("/{BUCKET}?policy"), policy.as_bytes());
        assert_eq!(status, 200);
    }

    /// A request that is not made by `godb`.
    pub fn raw(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let keys = "AWS4-HMAC-SHA256 Credential=any/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x";
        let head = format!("{method} {path} HTTP/1.1\r\nAuthorization: {keys}\r\n");
        self.exchange(&head, body)
    }

    fn exchange(&self, head: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let rest = format!(
            "Host: 127.0.0.1:{}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        let request = [head.as_bytes(), rest.as_bytes(), body].concat();
        stream.write_all(&request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let body = answer.split_off(end.unwrap() + 4);
        let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
        (status, body)
    }

    /// Names of all objects below a prefix.
    pub fn objects(&self, prefix: &str) -> Vec<String> {
        let (_, body) = self.raw(
            "GET",
            &format!("/{BUCKET}?list-type=2&prefix={prefix}/"),
            b"",
        );
        let body = String::from_utf8(body).unwrap();
        body.split("<Key>")
            .skip(1)
            .map(|rest| rest.split_once('<').unwrap().0.to_owned())
            .collect()
    }

    /// `godb snapshot …` that talks to this server with these keys.
    pub fn command(&self, keys: &Keys, arguments: &[&str]) -> Command {
        let mut command = godb_command();
        command
            .arg("snapshot")
            .args(arguments)
            .env("AWS_ENDPOINT_URL", self.endpoint())
            .env("AWS_ACCESS_KEY_ID", &keys.access)
            .env("AWS_SECRET_ACCESS_KEY", &keys.secret)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(ca_file) = &self.ca_file {
            command.env("AWS_CA_BUNDLE", ca_file);
        }
        command
    }
}

/// Every request gets this status, as a storage without space gives it.
pub fn full_storage() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 8192];
            let size = stream.read(&mut request).unwrap_or(0);
            let answer = if request[..size].starts_with(b"PUT") {
                "HTTP/1.1 507 Insufficient Storage\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned()
            } else {
                let body = "<ListBucketResult></ListBucketResult>";
                format!(
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )
            };
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    endpoint
}

const CERTIFICATE: &str = r#"
import datetime, ipaddress, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
now = datetime.datetime.now(datetime.timezone.utc)
day = datetime.timedelta(days=1)
alt = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    .serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)
    .add_extension(alt, False).sign(key, hashes.SHA256()))
open(sys.argv[1], "wb").write(key.private_bytes(serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
open(sys.argv[2], "wb").write(made.public_bytes(serialization.Encoding.PEM))
"#;
