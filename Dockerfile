# For those who have Docker or Podman; `make image` makes the same images without.
#
#   docker build --target godb --tag localhost/godb:dev .
#   docker build --target godb-operator --tag localhost/godb-operator:dev .
FROM rust:1.95-bookworm AS build
WORKDIR /godb
COPY . .
ENV CARGO_TARGET_DIR=/target
RUN scripts/static.sh node operator

FROM scratch AS godb
COPY --from=build --chmod=0755 /target/static/godb /godb
USER 65532:65532
ENTRYPOINT ["/godb"]

FROM scratch AS godb-operator
COPY --from=build --chmod=0755 /target/static/godb-operator /godb-operator
USER 65532:65532
ENTRYPOINT ["/godb-operator"]
