/* chat_stub - a server that answers as OpenAI's chat API does, as far as a test needs it: prints its port, answers N
 * requests one after the other and ends.  The first of them gets "busy, try again"; the others "yes. Because of X",
 * where X is how many pictures the request has, or status 400 if it is not what a client should send. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_BYTES = 8 << 20 };

static char request[MAX_BYTES + 1];

/* Headers and body; the body, NULL if the request is cut. */
static const char *read_request(int fd)
{
    size_t n = 0, body = 0, length = 0;
    for (;;) {
        const ssize_t got = read(fd, request + n, MAX_BYTES - n);
        if (got <= 0) {
            return NULL;
        }
        n += (size_t)got;
        request[n] = '\0';
        const char *end = strstr(request, "\r\n\r\n"), *said = strcasestr(request, "content-length:");
        if (end != NULL && said != NULL) {
            body = (size_t)(end - request) + 4;
            length = strtoul(said + 15, NULL, 10);
            if (n - body >= length) {
                return request + body;
            }
            if (strcasestr(request, "expect: 100-continue") != NULL && n == body) {
                static const char go[] = "HTTP/1.1 100 Continue\r\n\r\n";
                (void)!write(fd, go, sizeof go - 1);
            }
        }
    }
}

static void answer(int fd, const char *status, const char *body)
{
    char head[256];
    const int n = snprintf(head, sizeof head,
                           "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: "
                           "close\r\n\r\n",
                           status, strlen(body));
    (void)!write(fd, head, (size_t)n);
    (void)!write(fd, body, strlen(body));
}

int main(int argc, char **argv)
{
    const int n = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 16) != 0 ||
        getsockname(listener, (struct sockaddr *)&at, &size) != 0) {
        perror("chat_stub");
        return 1;
    }
    (void)printf("%d\n", ntohs(at.sin_port));
    (void)fflush(stdout);
    for (int i = 0; i < n; i++) {
        const int fd = accept(listener, NULL, NULL);
        const char *body = fd >= 0 ? read_request(fd) : NULL;
        if (i == 0) {
            answer(fd, "503 Service Unavailable", "{\"error\": {\"message\": \"busy\"}}");
        } else if (body == NULL || strncmp(request, "POST /v1/chat/completions ", 26) != 0 ||
                   strstr(body, "\"role\": \"user\"") == NULL || strstr(body, "\"max_tokens\": ") == NULL ||
                   strstr(body, "\"model\": \"stub\"") == NULL) {
            answer(fd, "400 Bad Request", "{\"error\": {\"message\": \"this is no request for a chat\"}}");
        } else {
            int pictures = 0;
            char text[256];
            for (const char *p = strstr(body, "data:image/png;base64,"); p != NULL;
                 p = strstr(p + 1, "data:image/png;")) {
                pictures++;
            }
            (void)snprintf(
                text, sizeof text,
                "{\"choices\": [{\"index\": 0, \"message\": {\"role\": \"assistant\", \"content\": \"yes. Because "
                "of %d\"}, \"finish_reason\": \"stop\"}], \"usage\": {\"prompt_tokens\": 7}}",
                pictures);
            answer(fd, "200 OK", text);
        }
        (void)close(fd);
    }
    (void)close(listener);
    return 0;
}
