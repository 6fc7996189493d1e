/*
 * The limit of the machine: one thread, one send(2) for each delivery, or for each burst of them.
 *
 * It knows of WebSockets the handshake and the frame of a text message, and takes the commands
 * that control.py describes. A socket that is full is waited for, so nothing is lost.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS = 1 << 16, DEPTH = 64, DEPTH_BYTES = 256 * 1024, HEAD = 4096 };

struct client {
    int open;
    size_t length;
    char *head; /* what came of the request */
};

static struct client clients[CLIENTS];
static int members[CLIENTS], count_members, place[CLIENTS];
static int epoll;

/* SHA-1 of at most 119 bytes, which a key and the GUID are. */
static uint32_t turn(uint32_t x, int n) { return x << n | x >> (32 - n); }

static void sha1(const char *text, size_t length, unsigned char digest[20]) {
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0}, w[80];
    unsigned char block[128] = {0};
    size_t blocks = length + 9 > 64 ? 2 : 1;
    memcpy(block, text, length);
    block[length] = 0x80;
    for (int i = 0; i < 8; i++) block[blocks * 64 - 1 - i] = (uint64_t)length * 8 >> (8 * i);
    for (size_t b = 0; b < blocks; b++) {
        for (int i = 0; i < 16; i++) {
            const unsigned char *p = block + b * 64 + i * 4;
            w[i] = (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
        }
        for (int i = 16; i < 80; i++) w[i] = turn(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        uint32_t v[5];
        memcpy(v, h, sizeof v);
        for (int i = 0; i < 80; i++) {
            uint32_t f, k;
            if (i < 20) f = (v[1] & v[2]) | (~v[1] & v[3]), k = 0x5A827999;
            else if (i < 40) f = v[1] ^ v[2] ^ v[3], k = 0x6ED9EBA1;
            else if (i < 60) f = (v[1] & v[2]) | (v[1] & v[3]) | (v[2] & v[3]), k = 0x8F1BBCDC;
            else f = v[1] ^ v[2] ^ v[3], k = 0xCA62C1D6;
            uint32_t next = turn(v[0], 5) + f + v[4] + k + w[i];
            v[4] = v[3], v[3] = v[2], v[2] = turn(v[1], 30), v[1] = v[0], v[0] = next;
        }
        for (int i = 0; i < 5; i++) h[i] += v[i];
    }
    for (int i = 0; i < 20; i++) digest[i] = h[i / 4] >> (24 - 8 * (i % 4));
}

static void base64(const unsigned char *data, int length, char *out) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < length; i += 3) {
        uint32_t bits = data[i] << 16;
        if (i + 1 < length) bits |= data[i + 1] << 8;
        if (i + 2 < length) bits |= data[i + 2];
        for (int j = 0; j < 4; j++)
            *out++ = i + j > length ? '=' : letters[bits >> (18 - 6 * j) & 63];
    }
    *out = 0;
}

/* Write everything; wait where the socket is full. Returns 0 when the peer is gone. */
static int write_all(int fd, const char *data, size_t length) {
    while (length) {
        ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
        if (sent > 0) {
            data += sent, length -= sent;
        } else if (errno == EAGAIN) {
            struct pollfd wait = {.fd = fd, .events = POLLOUT};
            poll(&wait, 1, -1);
        } else if (errno != EINTR) {
            return 0;
        }
    }
    return 1;
}

static void leave(int fd) {
    if (clients[fd].open) {
        int last = members[--count_members];
        members[place[fd]] = last;
        place[last] = place[fd];
    }
    free(clients[fd].head);
    clients[fd] = (struct client){0};
    close(fd);
}

static void handshake(int fd, struct client *client) {
    char *key = strcasestr(client->head, "sec-websocket-key:");
    if (!key || !strstr(client->head, "\r\n\r\n")) return;
    char joined[120], accept[32], answer[256];
    unsigned char digest[20];
    if (sscanf(key + 18, " %80s", joined) != 1) return leave(fd);
    strcat(joined, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    sha1(joined, strlen(joined), digest);
    base64(digest, 20, accept);
    int length = snprintf(answer, sizeof answer,
                          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                          "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                          accept);
    if (!write_all(fd, answer, length)) return leave(fd);
    free(client->head);
    client->head = NULL;
    client->open = 1;
    place[fd] = count_members;
    members[count_members++] = fd;
}

static void readable(int fd) {
    struct client *client = &clients[fd];
    char scratch[HEAD];
    ssize_t got = recv(fd, scratch, sizeof scratch, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return leave(fd);
    if (client->open) { /* a client of the benchmark says nothing but that it closes */
        if ((scratch[0] & 0x0F) == 8) leave(fd);
        return;
    }
    if (!client->head) client->head = calloc(1, HEAD + 1);
    if (client->length + got > HEAD) return leave(fd);
    memcpy(client->head + client->length, scratch, got);
    client->length += got;
    handshake(fd, client);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static size_t put_frame(char *out, long sequence, size_t size) {
    struct timespec t;
    size_t head = 2;
    char marker[64];
    clock_gettime(CLOCK_MONOTONIC, &t);
    out[0] = (char)0x81;
    if (size < 126) {
        out[1] = size;
    } else if (size < 65536) {
        out[1] = 126, out[2] = size >> 8, out[3] = size, head = 4;
    } else {
        out[1] = 127, head = 10;
        for (int i = 0; i < 8; i++) out[9 - i] = (uint64_t)size >> (8 * i);
    }
    memset(out + head, 'x', size);
    int length = snprintf(marker, sizeof marker, "wsb:%08ld:%020lld:", sequence,
                          (long long)t.tv_sec * 1000000000LL + t.tv_nsec);
    memcpy(out + head, marker, (size_t)length < size ? (size_t)length : size);
    return head + size;
}

static void publish(int queued, long count, size_t size, double rate, long first) {
    long depth = queued ? DEPTH_BYTES / size : 1;
    depth = depth < 1 ? 1 : depth > DEPTH ? DEPTH : depth;
    char *data = malloc(depth * (size + 10));
    double began = now();
    for (long done = 0; done < count;) {
        if (rate > 0 && !queued) {
            double wait = began + done / rate - now();
            if (wait > 0) usleep(wait * 1e6);
        }
        long burst = count - done < depth ? count - done : depth;
        size_t length = 0;
        for (long i = 0; i < burst; i++) length += put_frame(data + length, first + done + i, size);
        for (int i = 0; i < count_members; i++) write_all(members[i], data, length);
        done += burst;
    }
    free(data);
    printf("published %ld %.6f\n", count, now() - began);
    fflush(stdout);
}

int main(void) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 4096)) return 1;
    getsockname(listener, (struct sockaddr *)&address, &length);
    epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    event.data.fd = 0;
    epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &event);
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int client;
                while ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    if (client >= CLIENTS) {
                        close(client);
                        continue;
                    }
                    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                    event.data.fd = client;
                    epoll_ctl(epoll, EPOLL_CTL_ADD, client, &event);
                }
            } else if (fd == 0) {
                char line[256], mode[16];
                long count, first;
                size_t size;
                double rate;
                ssize_t got = read(0, line, sizeof line - 1);
                if (got <= 0) return 0;
                line[got] = 0;
                if (sscanf(line, "publish %15s %ld %zu %lf %ld", mode, &count, &size, &rate,
                           &first) == 5) {
                    publish(!strcmp(mode, "queued"), count, size, rate, first);
                } else if (!strncmp(line, "members", 7)) {
                    printf("members %d\n", count_members);
                    fflush(stdout);
                } else {
                    printf("unknown\n");
                    fflush(stdout);
                }
            } else {
                readable(fd);
            }
        }
    }
}
