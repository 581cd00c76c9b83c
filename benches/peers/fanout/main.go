// The peer of the fan-out benchmark: gorilla/websocket, the way a server hands one text frame on to
// many clients: a queue and a goroutine for each client, one write a frame.
//
// Whatever arrives on /ws/agent/flow goes to every client of /ws/subscriber/flow. The address it
// listens on is the first line of its output.
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

// Messages that wait for one client; the broadcaster waits where there are more.
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
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				return
			}
		}
	}()
	// Says that the client counts.
	conn.WriteMessage(websocket.PingMessage, nil)
	for {
		select {
		case message := <-queue:
			if conn.WriteMessage(websocket.TextMessage, message) == nil {
				continue
			}
		case <-gone:
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
