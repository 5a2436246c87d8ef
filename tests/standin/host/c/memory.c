/* Pools, locks, buffers, threads: what FreeSWITCH takes from its portable runtime. */
#include "host.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pool_block {
	void (*destroy)(void *memory);
	struct pool_block *next;
	_Alignas(16) uint8_t memory[];
};

switch_memory_pool_t *pool_new(void)
{
	switch_memory_pool_t *pool = calloc(1, sizeof(*pool));
	pthread_mutex_init(&pool->mutex, NULL);
	return pool;
}

static void *pool_alloc_with(switch_memory_pool_t *pool, size_t size, void (*destroy)(void *))
{
	struct pool_block *block = calloc(1, sizeof(*block) + size);
	block->destroy = destroy;
	pthread_mutex_lock(&pool->mutex);
	block->next = pool->blocks;
	pool->blocks = block;
	pthread_mutex_unlock(&pool->mutex);
	return block->memory;
}

void *pool_alloc(switch_memory_pool_t *pool, size_t size)
{
	return pool_alloc_with(pool, size, NULL);
}

char *pool_strdup(switch_memory_pool_t *pool, const char *text)
{
	char *copy = text ? pool_alloc(pool, strlen(text) + 1) : NULL;
	return copy ? strcpy(copy, text) : NULL;
}

void pool_free(switch_memory_pool_t *pool)
{
	struct pool_block *block = pool->blocks;
	while (block) {
		struct pool_block *next = block->next;
		if (block->destroy) {
			block->destroy(block->memory);
		}
		free(block);
		block = next;
	}
	pthread_mutex_destroy(&pool->mutex);
	free(pool);
}

static void mutex_destroy(void *memory)
{
	pthread_mutex_destroy(&((switch_mutex_t *)memory)->mutex);
}

switch_mutex_t *mutex_new(switch_memory_pool_t *pool)
{
	switch_mutex_t *mutex = pool_alloc_with(pool, sizeof(*mutex), mutex_destroy);
	pthread_mutexattr_t attributes;
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&mutex->mutex, &attributes);
	pthread_mutexattr_destroy(&attributes);
	return mutex;
}

bool mutex_trylock(switch_mutex_t *mutex)
{
	return pthread_mutex_trylock(&mutex->mutex) == 0;
}

void mutex_lock(switch_mutex_t *mutex)
{
	pthread_mutex_lock(&mutex->mutex);
}

void mutex_unlock(switch_mutex_t *mutex)
{
	pthread_mutex_unlock(&mutex->mutex);
}

switch_status_t switch_mutex_lock(switch_mutex_t *lock)
{
	mutex_lock(lock);
	return SWITCH_STATUS_SUCCESS;
}

switch_status_t switch_mutex_unlock(switch_mutex_t *lock)
{
	mutex_unlock(lock);
	return SWITCH_STATUS_SUCCESS;
}

static void rwlock_destroy(void *memory)
{
	switch_thread_rwlock_t *lock = memory;
	pthread_cond_destroy(&lock->changed);
	pthread_mutex_destroy(&lock->mutex);
}

switch_thread_rwlock_t *rwlock_new(switch_memory_pool_t *pool)
{
	switch_thread_rwlock_t *lock = pool_alloc_with(pool, sizeof(*lock), rwlock_destroy);
	pthread_mutex_init(&lock->mutex, NULL);
	condition_init(&lock->changed);
	return lock;
}

void rwlock_wrlock(switch_thread_rwlock_t *lock)
{
	pthread_mutex_lock(&lock->mutex);
	while (lock->readers || lock->writing) {
		pthread_cond_wait(&lock->changed, &lock->mutex);
	}
	lock->writing = true;
	pthread_mutex_unlock(&lock->mutex);
}

bool rwlock_timedwrlock(switch_thread_rwlock_t *lock, uint32_t ms)
{
	struct timespec until = deadline(ms);
	pthread_mutex_lock(&lock->mutex);
	for (int error = 0; (lock->readers || lock->writing) && !error;) {
		error = pthread_cond_timedwait(&lock->changed, &lock->mutex, &until);
	}
	bool free = !lock->readers && !lock->writing;
	lock->writing = lock->writing || free;
	pthread_mutex_unlock(&lock->mutex);
	return free;
}

switch_status_t switch_thread_rwlock_rdlock(switch_thread_rwlock_t *rwlock)
{
	pthread_mutex_lock(&rwlock->mutex);
	while (rwlock->writing) {
		pthread_cond_wait(&rwlock->changed, &rwlock->mutex);
	}
	rwlock->readers++;
	pthread_mutex_unlock(&rwlock->mutex);
	return SWITCH_STATUS_SUCCESS;
}

switch_status_t switch_thread_rwlock_tryrdlock(switch_thread_rwlock_t *rwlock)
{
	pthread_mutex_lock(&rwlock->mutex);
	bool free = !rwlock->writing;
	rwlock->readers += free;
	pthread_mutex_unlock(&rwlock->mutex);
	return free ? SWITCH_STATUS_SUCCESS : SWITCH_STATUS_FALSE;
}

switch_status_t switch_thread_rwlock_trywrlock(switch_thread_rwlock_t *rwlock)
{
	pthread_mutex_lock(&rwlock->mutex);
	bool free = !rwlock->readers && !rwlock->writing;
	rwlock->writing = rwlock->writing || free;
	pthread_mutex_unlock(&rwlock->mutex);
	return free ? SWITCH_STATUS_SUCCESS : SWITCH_STATUS_FALSE;
}

switch_status_t switch_thread_rwlock_unlock(switch_thread_rwlock_t *rwlock)
{
	pthread_mutex_lock(&rwlock->mutex);
	if (rwlock->writing) {
		rwlock->writing = false;
	} else if (rwlock->readers) {
		rwlock->readers--;
	} else {
		/* It is not held by anybody: a defect of the module or of the stand-in. */
		abort();
	}
	pthread_cond_broadcast(&rwlock->changed);
	pthread_mutex_unlock(&rwlock->mutex);
	return SWITCH_STATUS_SUCCESS;
}

bool buffer_write(struct buffer *buffer, const void *data, size_t size)
{
	if (buffer->limit && buffer->used + size > buffer->limit) {
		return false;
	}
	if (buffer->used + size > buffer->capacity) {
		buffer->capacity = (buffer->used + size) * 2;
		buffer->data = realloc(buffer->data, buffer->capacity);
	}
	if (size) {
		memcpy(buffer->data + buffer->used, data, size);
	}
	buffer->used += size;
	return true;
}

size_t buffer_read(struct buffer *buffer, void *data, size_t size)
{
	if (size > buffer->used) {
		size = buffer->used;
	}
	if (size) {
		if (data) {
			memcpy(data, buffer->data, size);
		}
		memmove(buffer->data, buffer->data + size, buffer->used - size);
	}
	buffer->used -= size;
	return size;
}

void buffer_free(struct buffer *buffer)
{
	free(buffer->data);
	memset(buffer, 0, sizeof(*buffer));
}

void text_append(char **text, size_t *length, const char *fmt, ...)
{
	va_list arguments;
	va_start(arguments, fmt);
	char *piece = NULL;
	int size = vasprintf(&piece, fmt, arguments);
	va_end(arguments);
	if (size < 0) {
		abort();
	}
	*text = realloc(*text, *length + (size_t)size + 1);
	memcpy(*text + *length, piece, (size_t)size + 1);
	*length += (size_t)size;
	free(piece);
}

int thread_start(pthread_t *thread, const char *name, void *(*function)(void *), void *argument)
{
	pthread_attr_t attributes;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, HOST_THREAD_STACK);
	int error = pthread_create(thread, &attributes, function, argument);
	pthread_attr_destroy(&attributes);
	if (!error) {
		pthread_setname_np(*thread, name);
	}
	return error;
}

void run_on_thread(void *(*function)(void *), void *argument)
{
	pthread_t thread;
	if (thread_start(&thread, "console", function, argument)) {
		abort();
	}
	pthread_join(thread, NULL);
}

void condition_init(pthread_cond_t *condition)
{
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(condition, &attributes);
	pthread_condattr_destroy(&attributes);
}

struct timespec deadline(uint32_t ms)
{
	int64_t at = now_ns() + (int64_t)ms * 1000000;
	return (struct timespec){.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
}

int64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void sleep_until_ns(int64_t deadline)
{
	struct timespec until = {.tv_sec = deadline / 1000000000, .tv_nsec = deadline % 1000000000};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {
	}
}

int64_t host_now_ns(void)
{
	return now_ns();
}

void host_free(void *memory)
{
	free(memory);
}
