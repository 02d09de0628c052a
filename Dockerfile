# Lockkeeper as an image: the command line, on Node, as a user without rights.
#
#   docker build -t lockkeeper .
#   docker run --rm -e DATABASE_URL=postgres://… lockkeeper migrate
#   docker run --init -e DATABASE_URL=postgres://… -v "$PWD/lockkeeper.jobs.mjs:/app/lockkeeper.jobs.mjs:ro" lockkeeper worker
#
# The working directory is /app: a jobs file there finds `import … from 'lockkeeper'`. Jobs that need other packages
# are an image of their own, which begins with `FROM lockkeeper`, copies them to /app and installs what they need.
# There is no HEALTHCHECK: what is healthy differs by command. compose.yaml has one for a worker.
#
# Verified: the build, and migrate, coordinator and worker of the image, with a stand-in for the base image (Debian
# bookworm with Node 24.21 and npm 11.19). Not verified: the same on the official image named below, which could not
# be pulled where this was written; nor another platform than linux/amd64.

# Any image with Node >= 22.12 and npm; no program is compiled, so Alpine's do too.
ARG NODE_IMAGE=node:24-bookworm-slim

# Packs the package, as it would be published.
FROM ${NODE_IMAGE} AS build
WORKDIR /build
# The dependencies are a layer of their own, which only a new lock file makes anew.
COPY package.json package-lock.json .npmrc ./
COPY scripts/install.mjs scripts/
RUN node scripts/install.mjs
COPY . .
RUN npm pack

# Installs it in an empty project, in the versions of the lock file, without the embedded Postgres.
FROM ${NODE_IMAGE} AS install
WORKDIR /app
COPY --from=build /build/package-lock.json ./
COPY --from=build /build/lockkeeper-*.tgz ./lockkeeper.tgz
RUN echo '{ "private": true, "type": "module" }' > package.json \
  && npm install --omit=optional --no-audit --no-fund ./lockkeeper.tgz

FROM ${NODE_IMAGE}
ENV NODE_ENV=production PATH=/app/node_modules/.bin:$PATH
WORKDIR /app
COPY --from=install /app ./
# The user that the official images bring; nothing in /app is its own.
USER node
# SIGTERM drains. Give it longer than the worker's --grace-ms (30 s): docker stop -t 45.
STOPSIGNAL SIGTERM
ENTRYPOINT ["lockkeeper"]
CMD ["worker"]
