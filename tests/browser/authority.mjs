// A certificate authority for tests, by the `openssl` command.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";

export class Authority {
  folder = mkdtempSync(path.join(os.tmpdir(), "campanile-tls-"));

  constructor() {
    this.#openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "10",
      "-subj", "/CN=Test Authority", "-keyout", this.#at("ca.key"), "-out", this.#at("ca.pem"));
  }

  #at(name) {
    return path.join(this.folder, name);
  }

  #openssl(...words) {
    return execFileSync("openssl", words, { stdio: ["ignore", "pipe", "pipe"] });
  }

  /** What clients trust, PEM. */
  get certificate() {
    return readFileSync(this.#at("ca.pem"), "utf8");
  }

  /** A certificate for these names (`DNS:a.test`, `IP:127.0.0.1`): paths of the chain and the key. */
  issue(name, ...names) {
    const [request, extensions] = [this.#at(`${name}.csr`), this.#at(`${name}.ext`)];
    const [chain, key] = [this.#at(`${name}.pem`), this.#at(`${name}.key`)];
    writeFileSync(extensions, `subjectAltName=${names.join(",")}\nextendedKeyUsage=serverAuth\n`);
    this.#openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", `/CN=${name}`,
      "-keyout", key, "-out", request);
    this.#openssl("x509", "-req", "-in", request, "-CA", this.#at("ca.pem"), "-CAkey", this.#at("ca.key"),
      "-CAcreateserial", "-days", "10", "-extfile", extensions, "-out", chain);
    return { chain, key };
  }

  /** The hash of a certificate's key, as Chromium's `--ignore-certificate-errors-spki-list` wants it. */
  spki(chain) {
    const key = execFileSync("openssl", ["x509", "-in", chain, "-pubkey", "-noout"]);
    const der = execFileSync("openssl", ["pkey", "-pubin", "-outform", "der"], { input: key });
    return execFileSync("openssl", ["dgst", "-sha256", "-binary"], { input: der }).toString("base64");
  }

  remove() {
    rmSync(this.folder, { recursive: true });
  }
}
