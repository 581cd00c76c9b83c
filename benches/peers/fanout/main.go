// The peer of the fan-out benchmark: a server that uses gorilla/websocket to forward text frames to
// many clients, with a queue and a goroutine per client and one write per frame.
//
// It forwards every message received on /ws/agent/flow to all clients of /ws/subscriber/flow. The
// first line of its output is the address that it listens on.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"

	"github.com/gorilla/websocket"
)

var upgrader = websocket.Upgrader{
	CheckOrigin: func(*http.Request) bool { return true },
}

// Capacity of the queue of one client, in messages; the broadcaster blocks while a queue is full.
const queueSize = 10000

type hub struct {
	lock    sync.RWMutex
	clients map[chan []byte]bool
}

func (h *hub) subscribe(w http.ResponseWriter, r *http.Request) {
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	queue := make(chan []byte, queueSize)
	h.lock.Lock()
	h.clients[queue] = true
	h.lock.Unlock()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				return
			}
		}
	}()
	// The ping signals to the client that it is registered.
	conn.WriteMessage(websocket.PingMessage, nil)
	for {
		select {
		case message := <-queue:
			if conn.WriteMessage(websocket.TextMessage, message) == nil {
				continue
			}
		case <-closed:
		}
		break
	}
	conn.Close()
	go func() {
		for range queue {
		}
	}()
	h.lock.Lock()
	delete(h.clients, queue)
	h.lock.Unlock()
	close(queue)
}

func (h *hub) feed(w http.ResponseWriter, r *http.Request) {
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	conn.WriteMessage(websocket.PingMessage, nil)
	for {
		_, message, err := conn.ReadMessage()
		if err != nil {
			conn.Close()
			return
		}
		h.lock.RLock()
		for queue := range h.clients {
			queue <- message
		}
		h.lock.RUnlock()
	}
}

func main() {
	h := &hub{clients: map[chan []byte]bool{}}
	http.HandleFunc("/ws/subscriber/flow", h.subscribe)
	http.HandleFunc("/ws/agent/flow", h.feed)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	log.Fatal(http.Serve(listener, nil))
}
