/* overlay's CNI plugin, compiled: forwards environment and stdin to overlay-agent; where no agent answers
 * it becomes the full program. cni/front.py is the same in Python and says why it is so; both pass the same
 * tests. Of what it forwards it understands nothing but where one key is. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define FOREVER (1LL << 62)
#define BLANKS " \t\r\n"
enum { MOST = 4 << 20, MOST_HEAD = 6 << 20, LONGEST_PATH = 4096, MOST_WORDS = 32, FULL = 3 };
/* Overwritten in the file by cni.install: words that end in NUL, namely the run directory, milliseconds for an
 * answer, the same for STATUS, and from FULL on the full program's command. */
char block[8192] = "overlay-front-settings/1:";
static char *volatile settings = block; /* volatile, so that no compiler takes what stands above for granted */
static char *words[MOST_WORDS + 1], request[MOST_HEAD + MOST + 8], answer[MOST + 1], stated[LONGEST_PATH + 1];

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

/* After a call that failed: whether to make it again. At the deadline errno is ETIMEDOUT. */
static int again(int fd, short events, long long deadline) {
    if (errno != EAGAIN)
        return errno == EINTR;
    for (long long left; (left = deadline - now()) > 0;)
        if (poll(&(struct pollfd){fd, events, 0}, 1, left < 60000 ? (int)left : 60000) > 0)
            return 1;
    errno = ETIMEDOUT;
    return 0;
}

static int write_all(int fd, const char *data, size_t size, long long deadline) {
    for (ssize_t n; size > 0; data += n, size -= (size_t)n)
        if ((n = write(fd, data, size)) < 0 && (n = 0, !again(fd, POLLOUT, deadline)))
            return 0;
    return 1;
}

/* How much came until the end, or until it failed; errno tells which. */
static size_t read_all(int fd, char *data, size_t most, long long deadline) {
    size_t size = 0;
    for (ssize_t n; size < most; size += (size_t)n)
        if ((n = read(fd, data + size, most - size)) == 0)
            break;
        else if (n < 0 && (n = 0, !again(fd, POLLIN, deadline)))
            return size;
    errno = 0;
    return size;
}

#define fail(text, ...) /* code, then what `text` has places for */ \
    (dprintf(1, "{\"cniVersion\":\"1.0.0\",\"code\":%d,\"msg\":\"" text "\"}\n", __VA_ARGS__), 1)

/* Without `run_dir` the full program finds it by itself. */
static int become_full(const char *run_dir, const char *input, size_t size) {
    int fd = memfd_create("stdin", MFD_CLOEXEC);
    if (fd >= 0 && write_all(fd, input, size, FOREVER) && lseek(fd, 0, SEEK_SET) == 0 && dup2(fd, 0) == 0
        && (!run_dir || setenv("OVERLAY_RUN_DIR", run_dir, 1) == 0))
        execv(words[FULL], words + FULL);
    return fail("the full program %s cannot be started: errno %d", 11, words[FULL], errno);
}

/* The closing quote of the string that begins at `at`, or NULL. */
static const char *closing(const char *at, const char *end, int *escaped) {
    for (*escaped = 0; at < end && *at != '"'; at++)
        if (*at == '\\')
            *escaped = 1, at++;
    return at < end ? at : NULL;
}

/* Sets `stated` to the configuration's own "runDir", if it has one; false: it must be decoded to tell. A scan
 * and no check: in what is not JSON it finds something or nothing, and whoever is asked then refuses it.
 * A NUL stands at `end`, where every run of blanks stops. */
static int find_run_dir(const char *at, const char *end) {
    const char *word, *close;
    int escaped, depth = 0;
    while (at < end) {
        char c = *at++;
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        if (c != '"')
            continue;
        if (!(close = closing(word = at, end, &escaped)))
            break;
        at = close + 1;
        const char *next = at + strspn(at, BLANKS);
        if (depth != 1 || *next != ':')
            continue; /* not a key of the configuration itself */
        if (escaped)
            return 0;
        if (close - word != 6 || memcmp(word, "runDir", 6) != 0)
            continue;
        stated[0] = '\0'; /* the last of several counts */
        at = next + 1 + strspn(next + 1, BLANKS);
        if (*at != '"')
            continue;
        if (!(close = closing(word = at + 1, end, &escaped)) || escaped)
            return !close;
        at = close + 1;
        size_t size = (size_t)(close - word);
        if (*word == '/' && size <= LONGEST_PATH && !memchr(word, '\0', size))
            memcpy(stated, word, size), stated[size] = '\0';
    }
    return 1;
}

static int dial(const char *run_dir) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    if (snprintf(name.sun_path, sizeof name.sun_path, "%s/cni.sock", run_dir) >= (int)sizeof name.sun_path)
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return connect(fd, (struct sockaddr *)&name, sizeof name) == 0 ? fd : -1;
}

static int relay(size_t size) {
    char *end = answer;
    long code = *answer >= '0' && *answer <= '9' ? strtol(answer, &end, 10) : -1;
    if (code < 0 || code > 255 || end - answer > 3 || *end != '\n' || size == MOST)
        return fail("overlay-agent stopped before it had answered; try again", 11);
    return write_all(1, end + 1, size - (size_t)(end + 1 - answer), FOREVER) ? (int)code : 1;
}

int main(void) {
    size_t head = sizeof "overlay-cni/1", i = 0;
    for (char *word = settings; i < MOST_WORDS && *word; word += strlen(word) + 1)
        words[i++] = word;
    if (i <= FULL)
        return fail("this executable was not installed by cni.install", 7);
    signal(SIGPIPE, SIG_IGN); /* an agent may answer and close before it has read everything */
    memcpy(request, "overlay-cni/1", head);
    for (char **pair = environ; *pair; pair++) {
        int wanted = !strncmp(*pair, "CNI_", 4) || !strncmp(*pair, "TRACE", 5) || !strncmp(*pair, "BAGGAGE", 7);
        size_t n = strlen(*pair) + 1;
        if (wanted && n < MOST_HEAD - head)
            memcpy(request + head, *pair, n), head += n; /* the kernel hands over no more than MOST_HEAD */
    }
    char *input = request + ++head; /* behind the NUL that ends the variables */
    size_t size = read_all(0, input, MOST + 1, FOREVER), got;
    if (errno)
        return fail("stdin cannot be read: errno %d", 5, errno);

    const char *run_dir = getenv("OVERLAY_RUN_DIR"), *verb = getenv("CNI_COMMAND");
    if (!run_dir || !*run_dir) {
        if (!find_run_dir(input, input + size))
            return become_full(NULL, input, size);
        run_dir = *stated ? stated : words[0];
    }
    int fd = dial(run_dir), status = verb && strcmp(verb, "STATUS") == 0;
    if (fd < 0)
        return become_full(run_dir, input, size);
    long long patience = atoll(words[status ? 2 : 1]), deadline = now() + patience;
    if (write_all(fd, request, head + size, deadline) || errno != ETIMEDOUT) {
        shutdown(fd, SHUT_WR);
        got = read_all(fd, answer, MOST, deadline);
        if (errno != ETIMEDOUT) /* "full": the agent has touched nothing */
            return got == 5 && !memcmp(answer, "full\n", 5) ? become_full(run_dir, input, size) : relay(got);
    }
    return fail("overlay-agent has not answered %s %g s; see: systemctl status overlay-agent", status ? 50 : 11,
                status ? "within" : "for", (double)patience / 1000);
}
