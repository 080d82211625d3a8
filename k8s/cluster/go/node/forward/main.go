// Command forward joins the machine with the node, which has a network of its own.
//
//	forward FD=ADDRESS ...
//
// Each FD is a listening socket that was opened outside and inherited; its connections go on to ADDRESS inside.
package main

import (
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	done := make(chan error)
	for _, argument := range os.Args[1:] {
		number, address, ok := strings.Cut(argument, "=")
		fd, err := strconv.Atoi(number)
		if !ok || err != nil {
			log.Fatalf("not FD=ADDRESS: %q", argument)
		}
		listener, err := net.FileListener(os.NewFile(uintptr(fd), address))
		if err != nil {
			log.Fatalf("descriptor %d is no listening socket: %v", fd, err)
		}
		go func() { done <- serve(listener, address) }()
	}
	log.Fatal(<-done)
}

func serve(listener net.Listener, address string) error {
	for {
		client, err := listener.Accept()
		if err != nil {
			return err
		}
		go join(client.(*net.TCPConn), address)
	}
}

func join(client *net.TCPConn, address string) {
	defer client.Close()
	connection, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return // what listens there is not up yet; the client sees a closed connection and tries again
	}
	server := connection.(*net.TCPConn)
	defer server.Close()
	finished := make(chan struct{}, 2)
	for _, pair := range [][2]*net.TCPConn{{server, client}, {client, server}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			_ = pair[0].CloseWrite() // one direction's end must not end the other: a watch goes on after its request
			finished <- struct{}{}
		}()
	}
	<-finished
	<-finished
}
