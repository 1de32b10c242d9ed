# The program, statically linked, in an image with little else. It runs as nobody
# and writes no file but dumps, if it is told where.
#
#   docker build -t tenantpool --build-arg VERSION="$(git describe --always --dirty)" \
#     --build-arg REVISION="$(git rev-parse HEAD)" .
#   docker run --rm tenantpool keygen
FROM golang:1.26.8-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# The repository is not here to be asked (.dockerignore); without these the program
# says "(devel)" and "unknown".
ARG VERSION=
ARG REVISION=
RUN CGO_ENABLED=0 go build -buildvcs=false -trimpath \
  -ldflags="-s -w -X github.com/tenantpool/tenantpool/model/build.version=$VERSION -X github.com/tenantpool/tenantpool/model/build.revision=$REVISION" \
  -o /tenantpool ./cmd/tenantpool

# Alpine, for the health check's wget and the certificates of DB_SSLMODE=verify-full.
FROM alpine:3.22.2
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="tenantpool" \
  org.opencontainers.image.licenses="MIT" \
  org.opencontainers.image.version="$VERSION" \
  org.opencontainers.image.revision="$REVISION"
COPY --from=build /tenantpool /usr/local/bin/tenantpool
# A volume of this name is that user's: compose.yaml has serve write dumps there.
RUN install -d -o 65532 -g 65532 -m 0700 /dumps
USER 65532:65532
# Inside a container everything that is to be reached listens on all addresses;
# publish the port on loopback, or behind a proxy with TLS.
ENV TENANTPOOL_ADDR=0.0.0.0:8080
EXPOSE 8080
# Whether the process lives; whether it can serve is told by /readyz.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
  CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/healthz"]
ENTRYPOINT ["tenantpool"]
CMD ["serve"]
