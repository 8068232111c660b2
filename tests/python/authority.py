"""A certificate authority for tests, by the `openssl` command: root, intermediate, and what it issues."""

import ssl
import subprocess


def openssl(*arguments, **more):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Authority:
    """Issues certificates in a folder. Clients trust `root`; servers show the intermediate with theirs."""

    def __init__(self, folder):
        self.folder = folder
        self.root = folder / "root.pem"
        self.serial = 0
        extensions = folder / "authority.ext"
        extensions.write_text("basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n")
        self.key("root")
        openssl("req", "-x509", "-new", "-key", folder / "root.key", "-subj", "/CN=Test Root", "-days", 30,
                "-out", self.root)
        self.key("middle")
        self.sign("middle", "Test Intermediate", extensions, self.root, folder / "root.key")

    def key(self, name):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", self.folder / f"{name}.key")

    def sign(self, name, subject, extensions, by, by_key):
        request = self.folder / f"{name}.csr"
        openssl("req", "-new", "-key", self.folder / f"{name}.key", "-subj", f"/CN={subject}", "-out", request)
        self.serial += 1
        openssl("x509", "-req", "-in", request, "-CA", by, "-CAkey", by_key, "-days", 30, "-set_serial", self.serial,
                "-extfile", extensions, "-out", self.folder / f"{name}.crt")

    def issue(self, name, *hosts):
        """A certificate for these names and addresses: its chain and its key. Issued once more, the files
        are exchanged as tools do it, by renaming."""
        new = f"{name}.new"
        extensions = self.folder / f"{new}.ext"
        names = ",".join(f"IP:{h}" if h.replace(".", "").isdigit() else f"DNS:{h}" for h in hosts)
        extensions.write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n")
        self.key(new)
        self.sign(new, name, extensions, self.folder / "middle.crt", self.folder / "middle.key")
        chain, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        text = (self.folder / f"{new}.crt").read_text() + (self.folder / "middle.crt").read_text()
        (self.folder / f"{new}.pem").write_text(text)
        (self.folder / f"{new}.key").rename(key)
        (self.folder / f"{new}.pem").rename(chain)
        return chain, key

    def context(self, version=None):
        """What a client trusts, and speaks; any version from 1.2 on if none is given."""
        context = ssl.create_default_context(cafile=self.root)
        if version:
            context.minimum_version = context.maximum_version = version
        context.set_alpn_protocols(["http/1.1"])
        return context
