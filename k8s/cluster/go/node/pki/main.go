// Command pki makes one certificate authority and the certificates that it is asked for, and a key for service accounts.
//
//	pki FOLDER <REQUESTS
//
// REQUESTS is a JSON list of {name, commonName, organization, hosts}. For each there are NAME.crt and NAME.key in FOLDER,
// beside ca.crt and service-accounts.{key,pub}. The authority's own key is never written: nothing is signed later.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"log"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

type request struct {
	Name         string   `json:"name"`
	CommonName   string   `json:"commonName"`
	Organization string   `json:"organization"`
	Hosts        []string `json:"hosts"`
}

func main() {
	folder := os.Args[1]
	var requests []request
	check(json.NewDecoder(os.Stdin).Decode(&requests))

	authority := template(request{CommonName: "toolkit test cluster"})
	authority.IsCA, authority.BasicConstraintsValid = true, true
	authority.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	authorityKey := newKey()
	write(folder, "ca.crt", "CERTIFICATE", sign(authority, authority, authorityKey.Public(), authorityKey), 0o644)

	for _, r := range requests {
		certificate := template(r)
		certificate.KeyUsage = x509.KeyUsageDigitalSignature
		certificate.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		if len(r.Hosts) > 0 {
			certificate.ExtKeyUsage = append(certificate.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		}
		key := newKey()
		write(folder, r.Name+".crt", "CERTIFICATE", sign(certificate, authority, key.Public(), authorityKey), 0o644)
		writeKey(folder, r.Name+".key", key)
	}

	accounts := newKey()
	writeKey(folder, "service-accounts.key", accounts)
	public, err := x509.MarshalPKIXPublicKey(accounts.Public())
	check(err)
	write(folder, "service-accounts.pub", "PUBLIC KEY", public, 0o644)
}

func template(r request) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	check(err)
	certificate := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: r.CommonName},
		NotBefore:    time.Now().Add(-time.Hour), // a clock may be set back a little
		NotAfter:     time.Now().AddDate(1, 0, 0),
	}
	if r.Organization != "" {
		certificate.Subject.Organization = []string{r.Organization}
	}
	for _, host := range r.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			certificate.IPAddresses = append(certificate.IPAddresses, ip)
		} else {
			certificate.DNSNames = append(certificate.DNSNames, host)
		}
	}
	return certificate
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	return key
}

func sign(certificate, parent *x509.Certificate, public crypto.PublicKey, key *ecdsa.PrivateKey) []byte {
	der, err := x509.CreateCertificate(rand.Reader, certificate, parent, public, key)
	check(err)
	return der
}

func writeKey(folder, name string, key *ecdsa.PrivateKey) {
	der, err := x509.MarshalECPrivateKey(key)
	check(err)
	write(folder, name, "EC PRIVATE KEY", der, 0o600)
}

func write(folder, name, kind string, der []byte, mode os.FileMode) {
	block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	check(os.WriteFile(filepath.Join(folder, name), block, mode))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
